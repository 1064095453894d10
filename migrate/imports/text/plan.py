"""What a rewriter of a text collects: edits at positions that mean a module, findings for the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from migrate.edits import Edit, Rewrite
from migrate.imports.context import Context
from migrate.imports.targets import Remark, blocked, in_text, missing
from migrate.imports.text import paths
from migrate.imports.text.view import View, cut
from migrate.report import Finding

Rewriter = Callable[[str, Context], Rewrite]

# A name as a string spells it: `a.b.c` or `a.b:c.d`.
NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::[^\W\d]\w*(?:\.[^\W\d]\w*)*)?")


def components(name: str) -> int:
    """Return the number of parts of a dotted or colon name."""
    return name.count(".") + name.count(":") + 1


@dataclass(slots=True)
class Plan:
    """Edits and findings of one text.

    Attributes:
        text: The text.
        ctx: What is known about the file.
        edits: Replacements so far.
        findings: Findings so far, with their offsets.
        claimed: Spans that were dealt with, so that the last pass over plain mentions leaves them out.
    """

    text: str
    ctx: Context
    edits: list[Edit] = field(default_factory=list)
    findings: list[tuple[int, Finding]] = field(default_factory=list)
    claimed: list[tuple[int, int]] = field(default_factory=list)

    def name(self, view: View, start: int, end: int, kind: str) -> bool:
        """Rewrite ``view.text[start:end]``, a name at a position that means a module; tell whether it is an old one."""
        name, span = view.text[start:end], view.span(start, end)
        if span is None or span[1] - span[0] != end - start or not NAME.fullmatch(name):
            return False
        renamed = self.ctx.moves.rename(name)
        if renamed is None:
            return False
        new, target = renamed
        self.claimed.append(span)
        dotted = name.replace(":", ".")
        remark = blocked(name, target) if target.blocked else missing(self.ctx, dotted, target)
        if remark is not None:
            self.find(span[0], *remark)
        if new != name:
            self.edits.append(Edit(*span, new, kind))
        return True

    def whole(self, view: View, kind: str) -> bool:
        """Rewrite a view that is one name and nothing else."""
        return self.name(view, 0, len(view.text), kind)

    def here(self, start: int, end: int, kind: str) -> bool:
        """Rewrite a name of the text itself."""
        return self.name(cut(self.text, start, end), 0, end - start, kind)

    def find(self, offset: int, code: str, message: str, hint: str = "") -> None:
        """Add a finding."""
        self.findings.append((offset, self.ctx.finding(self.text, offset, code, message, hint)))

    def mentions(self, text: str) -> bool:
        """Tell whether a text could have anything to rewrite or to report."""
        return paths.index(self.ctx.moves).roots.search(text) is not None

    def nested(self, view: View, rewrite: Rewriter) -> bool:
        """Rewrite a piece in another language; all of its edits or, where one can't be written back, none.

        Returns:
            Whether the edits could be written back.
        """
        self.claim(view)
        if not self.mentions(view.text):
            return True
        inner = rewrite(view.text, replace(self.ctx.as_snippet(), prefix_lines=0))
        return self.adopt(view, inner)

    def claim(self, view: View) -> None:
        """Mark a view as dealt with."""
        real = [at for at in view.starts if at >= 0]
        if real:
            self.claimed.append((min(real), max(view.ends)))

    def adopt(self, view: View, inner: Rewrite) -> bool:
        """Take over what a rewriter found in a view."""
        edits = [view.edit(edit) for edit in inner.edits]
        good = [edit for edit in edits if edit is not None]
        for finding in inner.findings:
            offset = view.nearest(view.offset(finding.line, finding.column))
            self.find(offset, finding.code, finding.message, finding.hint)
        if len(good) == len(edits):
            self.edits += good
            return True
        first = min(edit.start for edit in inner.edits)
        old = view.text[first : inner.edits[0].end].strip() or view.text.strip()
        self.find(view.nearest(first), "BM105", f"{old} cannot be replaced in place here", "rewrite this line by hand")
        return False

    def leftovers(self) -> Rewrite:
        """Report every dotted mention and every path that nothing dealt with, and return the result."""
        taken = Spans([*self.claimed, *((edit.start, edit.end) for edit in self.edits)])
        for start, end, name in self.ctx.moves.find(self.text):
            if not taken.touch(start, end) and (remark := in_text(self.ctx, name)) is not None:
                self.find(start, *remark)
        for start, end, message, hint in paths.find(self.text, self.ctx):
            if not taken.touch(start, end):
                self.find(start, "BM112", message, hint)
        return self.result()

    def mention(self, offset: int, name: str) -> None:
        """Report an old name that stays because its position doesn't say that it means a module."""
        remark = in_text(self.ctx, name) or Remark("BM105", f"{name} only occurs as text here", "rewrite it by hand")
        self.find(offset, *remark)

    def result(self) -> Rewrite:
        """Return what was collected: each finding once, and no mention of a name that was rewritten after all."""
        edited = Spans([(edit.start, edit.end) for edit in self.edits])
        kept = {
            finding
            for offset, finding in self.findings
            if finding.code not in ("BM105", "BM112") or not edited.touch(offset, offset + 1)
        }
        edits = sorted(set(self.edits))
        for before, after in pairwise(edits):
            if after.start < before.end:
                message = "two ways of reading this line rewrite it differently"
                return Rewrite([], [self.ctx.finding(self.text, after.start, "BM113", message, "rewrite it by hand")])
        return Rewrite(edits, sorted(kept))


class Spans:
    """Spans that can be asked whether another one touches them."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if self._spans and start <= self._spans[-1][1]:
                self._spans[-1] = (self._spans[-1][0], max(end, self._spans[-1][1]))
            else:
                self._spans.append((start, end))

    def touch(self, start: int, end: int) -> bool:
        """Tell whether one of them shares a character with ``start`` to ``end``."""
        low, high = 0, len(self._spans)
        while low < high:
            middle = (low + high) // 2
            if self._spans[middle][1] <= start:
                low = middle + 1
            else:
                high = middle
        return low < len(self._spans) and self._spans[low][0] < end
