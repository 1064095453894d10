"""References in shell scripts, Makefiles and batch files."""

from __future__ import annotations

import re

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.kinds import kind_of
from migrate.imports.text import argv, code
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import View, composed, cut
from migrate.imports.text.words import Command, Word, commands

_NAMES = "|".join(re.escape(name) for name in argv.PROGRAMS)
_COMMAND = re.compile(
    rf"^[ \t]*(?:[$%>#]\s+|\([\w.\-]+\)\s*\$?\s*)?(?:(?:[A-Z_][A-Z_0-9]*=\S+|sudo|time|exec|nohup|poetry run|srun)\s+)*"
    rf"(?:python[\d.]*|{_NAMES}|export|pip[\d.]*|FLASK_APP=\S*)(?:\s|$)",
    re.MULTILINE,
)
_PYTHON_FILE = re.compile(r"\.pyw?$")


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite shell text."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    fill(plan, bat=ctx.path.lower().endswith((".bat", ".cmd")), by_line=kind_of(ctx.path) == "make")
    return plan.leftovers()


def looks_like(text: str) -> bool:
    """Tell whether lines of a text without a language are commands that can name a module."""
    return _COMMAND.search(text) is not None


def fill(plan: Plan, *, bat: bool = False, by_line: bool = False) -> None:
    """Rewrite every command of the plan's text."""
    for command in commands(plan.text, bat=bat, by_line=by_line):
        argv.analyse(plan, command.words)
        _inner_commands(plan, command)
        for heredoc in command.heredocs:
            _heredoc(plan, command, cut(plan.text, heredoc.start, heredoc.end, lambda new: new), heredoc.literal)


def words_of(view: View) -> list[Word]:
    """Return the words of the commands in a view."""
    found = [word for command in commands(view.text) for word in command.words]
    return [Word(composed(view, word.view), word.quoted, word.expands) for word in found]


def is_claimed(plan: Plan, word: Word, before: int = 0) -> bool:
    """Tell whether part of a word was dealt with, by a claim after the first ``before`` ones."""
    start, end = min(word.view.starts), max(word.view.ends)
    return any(first < end and start < last for first, last in plan.claimed[before:])


def _inner_commands(plan: Plan, command: Command) -> None:
    """Rewrite commands that are an argument: ``bash -c "python -m a.b"``, ``CMD="python -m a.b"``."""
    for word in command.words:
        if any(char in word.value for char in " \t\n") and plan.mentions(word.value) and not is_claimed(plan, word):
            plan.nested(word.view, rewrite)


def _heredoc(plan: Plan, command: Command, view: View, literal: bool) -> None:
    values = [argv.program_name(word.value) for word in command.words]
    is_python = any(re.fullmatch(r"python[\d.]*", value) for value in values) or any(
        _PYTHON_FILE.search(value) for value in values
    )
    if is_python and (literal or not re.search(r"[$`\\]", view.text)):
        code.python(plan, view)
    elif is_python:
        code.statements(plan, view)
    else:
        plan.nested(view, rewrite)
