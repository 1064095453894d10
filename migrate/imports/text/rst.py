"""References in reStructuredText."""

from __future__ import annotations

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import prose


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a reStructuredText document."""
    return prose.rewrite(text, ctx, "rst")
