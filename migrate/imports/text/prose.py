"""Documents and docstrings: code in them is rewritten in its own language, names in roles and directives too."""

from __future__ import annotations

import re
from typing import Literal

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.text import code, doctests, languages, rst_names, shell
from migrate.imports.text.lines import Line, block, split
from migrate.imports.text.plan import Plan

Flavour = Literal["md", "rst", "docstring"]

_FENCE = re.compile(r"(?P<lead>(?:[ \t]*>)*[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<mark>`{3,}|~{3,})(?P<info>[^`]*)")
_QUOTE = re.compile(r"[ \t]*>")
_OPTION = re.compile(r"[ \t]*:[\w-]+:(?:[ \t].*)?")
_IMPORT = re.compile(r"[ \t]*(?:import|from)[ \t]+\w")


class Prose:
    """One pass over a document."""

    def __init__(self, plan: Plan, flavour: Flavour) -> None:
        """Take the plan to fill and the markup to expect."""
        self.plan = plan
        self.flavour = flavour
        self.lines = split(plan.text)
        self.doctests = doctests.Doctests(plan)

    def run(self) -> Rewrite:
        """Rewrite everything, and report what prose mentions."""
        at = 0
        while at < len(self.lines):
            at = max(self._step(at), at + 1)
        self.doctests.run()
        rst_names.inline(self.plan)
        return self.plan.leftovers()

    def _step(self, at: int) -> int:
        """Deal with what starts at a line; return the line after it."""
        line = self.lines[at]
        fence = _FENCE.fullmatch(line.text)
        if fence is not None:
            return self._fence(at, fence)
        if (after := self.doctests.take(self.lines, at)) > at:
            return after
        if self.flavour != "md" and (directive := rst_names.DIRECTIVE.match(line.text)) is not None:
            return self._directive(at, directive)
        if self.flavour != "md" and line.text.rstrip().endswith("::"):
            return self._guess(at + 1, self._deeper(at))
        if self.flavour == "md" and self._starts_indented_code(at):
            return self._guess(at, self._indented(at))
        if self.flavour == "docstring" and self.plan.mentions(line.text):
            return self._docstring_line(at)
        return at + 1

    def _fence(self, at: int, fence: re.Match[str]) -> int:
        lead, mark = fence["lead"], fence["mark"]
        quotes = lead.count(">")
        width = len(lead) - (lead.rfind(">") + 1)
        body: list[tuple[Line, int]] = []
        closing = re.compile(rf"[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*")
        after = at + 1
        while after < len(self.lines):
            column = _content_column(self.lines[after], quotes, width)
            if column is None:
                break
            if closing.fullmatch(self.lines[after].text, column):
                after += 1
                break
            body.append((self.lines[after], column))
            after += 1
        self._code(fence["info"].strip(), body, self.lines[at].start + fence.start("info"))
        return after

    def _code(self, info: str, body: list[tuple[Line, int]], info_start: int) -> None:
        """Rewrite a fenced block, whose opening says what it is."""
        language, is_directive = languages.of_info(info)
        if is_directive:
            body = _without_options(body)
            raw = self.plan.text[info_start : info_start + len(info) + 8]
            rst_names.myst_argument(self.plan, info_start, raw)
        if language in languages.PYTHON and any(doctests.PROMPT.match(line.text) for line, _ in body):
            language = "pycon"
        self._in_language(language, body)

    def _in_language(self, language: str, body: list[tuple[Line, int]]) -> None:
        if language in languages.DOCTEST:
            self._examples([line for line, _ in body])
            return
        view = block(self.plan.text, body)
        if language in languages.PYTHON:
            code.python(self.plan, view)
        elif language == "":
            if not self._examples([line for line, _ in body]):
                code.block(self.plan, view)
        elif language in languages.OTHER:
            self.plan.claim(view)
        else:
            rewrite = languages.rewriter(language)
            if rewrite is not None:
                self.plan.nested(view, rewrite)

    def _examples(self, lines: list[Line]) -> bool:
        """Take interactive examples; tell whether there were any."""
        at, found = 0, False
        while at < len(lines):
            after = self.doctests.take(lines, at)
            found |= after > at
            at = max(after, at + 1)
        return found

    def _directive(self, at: int, directive: re.Match[str]) -> int:
        after = self._deeper(at)
        name, argument = directive["name"], directive["argument"].strip()
        body = [(line, 0) for line in self.lines[at + 1 : after]]
        if name in languages.CODE_DIRECTIVES:
            self._in_language(languages.CODE_DIRECTIVES[name] or languages.of_name(argument), _without_options(body))
            return after
        start = self.lines[at].start
        if name == "autosummary":
            rst_names.listed(self.plan, self.lines[at + 1 : after])
        elif name == "program-output":
            rst_names.shell_argument(self.plan, start + directive.start("argument"), start + directive.end("argument"))
        else:
            rst_names.argument(self.plan, start, directive)
        return at + 1

    def _deeper(self, at: int) -> int:
        """Return the line after the block that is indented deeper than a line."""
        indent, after = self.lines[at].indent, at + 1
        while after < len(self.lines) and (self.lines[after].blank or self.lines[after].indent > indent):
            after += 1
        return after

    def _starts_indented_code(self, at: int) -> bool:
        return (at == 0 or self.lines[at - 1].blank) and _is_indented(self.lines[at])

    def _indented(self, at: int) -> int:
        after = at
        while after < len(self.lines) and (self.lines[after].blank or _is_indented(self.lines[after])):
            after += 1
        return after

    def _guess(self, start: int, after: int) -> int:
        """Rewrite a block without a language if it tells by itself; otherwise its lines are read one by one."""
        body = self.lines[start:after]
        if not body or any(_FENCE.fullmatch(line.text) or doctests.PROMPT.match(line.text) for line in body):
            return start
        return after if code.block(self.plan, block(self.plan.text, [(line, 0) for line in body])) else start

    def _docstring_line(self, at: int) -> int:
        line = self.lines[at]
        if _IMPORT.match(line.text):
            return self._import_block(at)
        if shell.looks_like(line.text):
            after = at
            while after + 1 < len(self.lines) and self.lines[after].text.rstrip().endswith("\\"):
                after += 1
            view = block(self.plan.text, [(each, 0) for each in self.lines[at : after + 1]])
            self.plan.nested(view, shell.rewrite)
            return after + 1
        return at + 1

    def _import_block(self, at: int) -> int:
        """Rewrite the code around an import line, or the line alone if what surrounds it isn't Python."""
        indent, after = self.lines[at].indent, at + 1
        while after < len(self.lines) and (self.lines[after].blank or self.lines[after].indent >= indent):
            after += 1
        while after > at:
            view = block(self.plan.text, [(line, 0) for line in self.lines[at:after]])
            tree = code.parse(view.text)
            if tree is not None:
                if code.has_old_import(view.text, tree, self.plan.ctx):
                    code.python(self.plan, view)
                return after
            after = self._shorter(at, after)
        return at + 1

    def _shorter(self, at: int, after: int) -> int:
        """Drop the last paragraph of a block, or its last line when it is one paragraph."""
        for end in range(after - 1, at, -1):
            if self.lines[end].blank and not self.lines[end - 1].blank:
                return end
        return after - 1


def _content_column(line: Line, quotes: int, width: int) -> int | None:
    """Return where a line of a fenced block begins; None when it is no longer part of the quotation around it."""
    column = 0
    for _ in range(quotes):
        found = _QUOTE.match(line.text, column)
        if found is None:
            return None
        column = found.end()
    stripped = len(line.text[column:]) - len(line.text[column:].lstrip(" \t"))
    return column + min(width, stripped)


def _without_options(body: list[tuple[Line, int]]) -> list[tuple[Line, int]]:
    """Leave out the options at the start of a directive's body."""
    skip = 0
    if body and body[0][0].text[body[0][1] :].strip() == "---":
        rest = [index for index, (line, column) in enumerate(body) if index and line.text[column:].strip() == "---"]
        return body[rest[0] + 1 :] if rest else body
    while skip < len(body) and _OPTION.fullmatch(body[skip][0].text, body[skip][1]):
        skip += 1
    return body[skip:]


def _is_indented(line: Line) -> bool:
    return not line.blank and line.text.startswith(("    ", "\t"))


def rewrite(text: str, ctx: Context, flavour: Flavour) -> Rewrite:
    """Rewrite a document."""
    plan = Plan(text, ctx)
    return Prose(plan, flavour).run() if plan.mentions(text) else plan.result()
