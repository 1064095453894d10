"""Interactive examples: all of a document are one program, because later ones use what earlier ones import."""

from __future__ import annotations

import re

from migrate.imports.text import code
from migrate.imports.text.lines import Line
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import LINE_BREAK, Builder, Encode, View

PROMPT = re.compile(r"(?P<lead>(?:[ \t]*> )*[ \t]*)(?:(?P<doctest>>>>)(?: |$)|In \[\d*\]: )")
_IPYTHON_MORE = re.compile(r"[ \t]*\.{3,}: ?")


class Doctests:
    """Collects the examples of a document."""

    def __init__(self, plan: Plan) -> None:
        """Take the plan to fill."""
        self.plan = plan
        self.views: list[View] = []

    def take(self, lines: list[Line], at: int) -> int:
        """Take the example that starts at a line; return the line after it, or ``at`` when none starts there."""
        prompt = PROMPT.match(lines[at].text)
        if prompt is None:
            return at
        builder = Builder()
        builder.raw(self.plan.text, lines[at].start + prompt.end(), lines[at].after)
        after = at + 1
        while after < len(lines):
            column = _continuation(lines[after].text, prompt)
            if column is None:
                break
            builder.raw(self.plan.text, lines[after].start + column, lines[after].after)
            after += 1
        more = "... " if prompt["doctest"] else "   ...: "
        first = ">>> " if prompt["doctest"] else "   ...: "
        self.views.append(builder.view(_with_prompts(prompt["lead"], first, more)))
        return after

    def run(self) -> None:
        """Rewrite what was collected."""
        code.program(self.plan, self.views)


def _continuation(text: str, prompt: re.Match[str]) -> int | None:
    """Return where the code of a further line of an example begins; None when it isn't one."""
    if not prompt["doctest"]:
        found = _IPYTHON_MORE.match(text)
        return found.end() if found else None
    lead = len(prompt["lead"])
    if not text.startswith(prompt["lead"]) or not text.startswith("...", lead):
        return None
    rest = text[lead + 3 :]
    if rest and rest[0] != " ":
        return None
    return lead + 3 + bool(rest)


def _with_prompts(lead: str, first: str, more: str) -> Encode:
    """Spell new lines with a prompt each: that of a new statement, or of one that goes on."""

    def encode(new: str) -> str:
        def prompt(found: re.Match[str]) -> str:
            goes_on = new[found.end() : found.end() + 1] in (" ", "\t", ")")
            return f"{found.group()}{lead}{more if goes_on else first}"

        return LINE_BREAK.sub(prompt, new)

    return encode
