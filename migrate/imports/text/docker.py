"""References in Dockerfiles and compose files."""

from __future__ import annotations

import re

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import argv, config_json, config_yaml, shell
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import View
from migrate.imports.text.words import Word

_ARRAY = re.compile(
    r"^[ \t]*(?:ONBUILD[ \t]+)?(?:(?:RUN|CMD|ENTRYPOINT|SHELL)|HEALTHCHECK\b(?:[^\r\n\[]|\\\r?\n)*?\bCMD)"
    r"(?:[ \t]|\\\r?\n|--\S+)*(?=\[)",
    re.MULTILINE | re.IGNORECASE,
)
_OLD_ENV = re.compile(rf"^[ \t]*ENV[ \t]+(?:{'|'.join(argv.VARIABLES)})[ \t]+(\S+)", re.MULTILINE)
_STRING = re.compile(r'"(?:[^"\\\r\n]|\\.)*"')


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a Dockerfile, or a compose file."""
    if ctx.path.endswith((".yml", ".yaml")):
        return config_yaml.rewrite(text, ctx)
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    for found in _ARRAY.finditer(text):
        _exec_form(plan, found.end())
    for found in _OLD_ENV.finditer(text):
        plan.here(*found.span(1), argv.KIND)
    shell.fill(plan, by_line=True)
    return plan.leftovers()


def _exec_form(plan: Plan, start: int) -> None:
    """Rewrite a JSON array of words, which may go on over continued lines."""
    end = plan.text.find("]", start)
    if end < 0:
        return
    words: list[Word] = []
    for found in _STRING.finditer(plan.text, start, end):
        view: View | None = config_json.string(plan.text, found.start()).view
        if view is None:
            return
        words.append(Word(view, quoted=True))
    argv.analyse(plan, words)
    for word in words:
        if any(char.isspace() for char in word.value) and not shell.is_claimed(plan, word):
            plan.nested(word.view, shell.rewrite)
