"""Names in roles and directives of Sphinx, MyST and mkdocstrings."""

from __future__ import annotations

import re

from migrate.imports.text import shell
from migrate.imports.text.lines import Line
from migrate.imports.text.plan import NAME, Plan, Spans, components
from migrate.imports.text.view import cut

KIND = "documentation"

DIRECTIVE = re.compile(r"(?P<indent>[ \t]*)\.\.[ \t]+(?P<name>[\w:+\-]+)::[ \t]*(?P<argument>.*)$")
_AUTO = re.compile(
    r"(?:auto\w+|py:\w+|c?lick|argparse|autoprogram|inheritance-diagram|automodapi|automodsumm|apidoc|module|currentmodule"
    r"|class|function|method|staticmethod|classmethod|attribute|data|exception|decorator)"
)
_MODULE_NAMES = frozenset("automodule module currentmodule py:module py:currentmodule automodapi automodsumm".split())
_ROLES = "mod|class|func|meth|attr|obj|data|exc|const|prop|property|deco|type|any|paramref|autolink"
_ROLE = re.compile(rf"(?::(?:py:)?(?P<rst>{_ROLES}):|\{{(?:py:)?(?P<myst>{_ROLES})\}})`(?P<body>[^`\r\n]+)`")
_TARGET = re.compile(rf"(?:[^<]*<)?[~!]?(?P<name>{NAME.pattern})(?:\(.*\))?>?")
_MKDOCSTRINGS = re.compile(rf"^[ \t]*:::[ \t]+(?P<name>{NAME.pattern})[ \t\r]*$", re.MULTILINE)
_OPTION = re.compile(rf"^[ \t]+:(?:module|ref|func):[ \t]+(?P<name>{NAME.pattern})[ \t\r]*$", re.MULTILINE)
_LISTED = re.compile(rf"[ \t]*~?(?P<name>{NAME.pattern})[ \t]*")
_WORD = re.compile(r"[^\s,]+")
_MYST = re.compile(r"\{(?P<name>[\w:+\-]+)\}[ \t]*(?P<argument>[^\r\n`]*)")


def argument(plan: Plan, start: int, directive: re.Match[str]) -> None:
    """Rewrite the names that a directive is given; ``start`` is where the line of the match begins."""
    if not _AUTO.fullmatch(directive["name"]):
        return
    text = directive["argument"].partition("(")[0]
    for word in _WORD.finditer(text):
        at = start + directive.start("argument") + word.start()
        whole = directive["name"] in _MODULE_NAMES
        _name(plan, at, word.group(), whole=whole)


def _name(plan: Plan, at: int, name: str, *, whole: bool) -> None:
    if NAME.fullmatch(name) and (whole or components(name) > 1):
        plan.here(at, at + len(name), KIND)


def myst_argument(plan: Plan, start: int, info: str) -> None:
    """Rewrite the names in the opening line of a MyST directive."""
    found = _MYST.match(info)
    if found is not None:
        argument(plan, start, found)


def listed(plan: Plan, lines: list[Line]) -> None:
    """Rewrite the entries of ``autosummary``."""
    for line in lines:
        found = _LISTED.fullmatch(line.text)
        if found is not None:
            _name(plan, line.start + found.start("name"), found["name"], whole=True)


def shell_argument(plan: Plan, start: int, end: int) -> None:
    """Rewrite a command line that a directive is given."""
    plan.nested(cut(plan.text, start, end), shell.rewrite)


def inline(plan: Plan) -> None:
    """Rewrite roles anywhere, and the blocks of mkdocstrings."""
    claimed = Spans(plan.claimed)
    for role in _ROLE.finditer(plan.text):
        target = _TARGET.fullmatch(role["body"])
        if target is not None and not claimed.touch(role.start(), role.end()):
            start = role.start("body") + target.start("name")
            whole = (role["rst"] or role["myst"]) == "mod"
            _name(plan, start, target["name"], whole=whole)
    for pattern in (_MKDOCSTRINGS, _OPTION):
        for found in pattern.finditer(plan.text):
            if not claimed.touch(*found.span("name")):
                plan.here(*found.span("name"), KIND)
