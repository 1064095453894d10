"""References in docstrings: examples, fences, roles, import lines and usage lines."""

from __future__ import annotations

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import prose


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite the source text between the quotes of a docstring; offsets count from its first character.

    New text holds names, punctuation of import statements and line breaks: nothing that quotes or escapes would change.
    """
    return prose.rewrite(text, ctx, "docstring")
