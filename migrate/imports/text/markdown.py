"""References in Markdown, MyST included."""

from __future__ import annotations

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import prose


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a Markdown document."""
    return prose.rewrite(text, ctx, "md")
