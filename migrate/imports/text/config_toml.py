"""References in TOML: any configuration by its keys, and pyproject.toml by the tables of the tools."""

from __future__ import annotations

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import project, toml_nodes
from migrate.imports.text.nodes import finish
from migrate.imports.text.plan import Plan
from migrate.imports.text.values import Walker


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a TOML file."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    root = toml_nodes.parse(text)
    if root is None:
        if not ctx.snippet:
            plan.find(0, "BM108", "the file is not TOML")
        return plan.leftovers()
    Walker(plan, project.rule).walk(root)
    return finish(plan, toml_nodes.FORMAT, root)
