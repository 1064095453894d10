"""Character spans of attribute chains, also inside annotation strings and f-strings."""

from __future__ import annotations

import re

from migrate.imports.python.scopes import Use
from migrate.imports.python.source import Source


def chain_spans(source: Source, use: Use) -> list[tuple[int, int]]:
    """Return, for each component of a chain, the span from the chain's start to the component's end.

    Before Python 3.12 the parser's positions inside f-strings can be wrong: there the chain is looked up in the text
    of the f-string, and taken where it occurs once.
    """
    if use.base >= 0:
        inner = Source(use.body)
        return [(use.base + inner.span(use.nodes[0])[0], use.base + inner.span(node)[1]) for node in use.nodes]
    start = source.span(use.nodes[0])[0]
    spans = [(start, source.span(node)[1]) for node in use.nodes]
    if use.joined is not None and not _matches(source.text[start : spans[-1][1]], use):
        return _in_joined(source, use) or spans
    return spans


def _matches(text: str, use: Use) -> bool:
    return re.sub(r"\s", "", text) == ".".join([use.name, *use.chain])


def _in_joined(source: Source, use: Use) -> list[tuple[int, int]]:
    assert use.joined is not None
    begin, end = source.span(use.joined)
    pattern = re.compile(rf"(?<![\w.]){use.name}(?!\w)" + "".join(rf"\s*\.\s*{attr}(?!\w)" for attr in use.chain))
    matches = list(pattern.finditer(source.text, begin, end))
    if len(matches) != 1:
        return []
    at = matches[0].start()
    ends = [at + len(use.name)]
    for attr in use.chain:
        ends.append(source.text.index(attr, ends[-1]) + len(attr))
    return [(at, stop) for stop in ends]
