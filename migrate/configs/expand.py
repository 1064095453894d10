"""The opposite of a rewrite: the text of a file with everything in it that its bases give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bem_core.config.merge import merge, typed_equal
from bem_core.config.resolver import value_at
from bem_core.errors import BemError
from migrate.configs.comments import Holder
from migrate.configs.inputs import Chain
from migrate.configs.layout import Entry, Keys
from migrate.configs.render import shift, spelt
from migrate.configs.source import BASE, Source, from_text

_ABSENT = object()


def expanded(source: Source, bases: Sequence[str], chain: Chain, order: bool = False) -> Source:
    """Return a file with all that it inherits: its own lines as they are, the rest at the end of each block.

    The line that names its bases is still in it, where a new one is to go.

    Args:
        source: The file.
        bases: Real paths of its bases.
        chain: Those bases and theirs.
        order: Whether keys come in the order in which they are merged.

    Raises:
        BemError: The result would not mean the same.
    """
    data = merge(chain.joined(bases), source.coded)
    layers = [source, *[chain.source(real) for real in chain.line(bases)][::-1]]
    text = _Expander(layers, order).text(data)
    result = from_text(source.path, text, source.order)
    if not typed_equal(result.coded, data, order):
        raise BemError(f"{source.path}: cannot be written without its bases")
    return Source(source.path, source.raw, source.decoded, result.document, source.order)


class _Expander:
    def __init__(self, layers: Sequence[Source], order: bool) -> None:
        self.layers = layers  # the file itself first, then its bases, the last to be applied first
        self.order = order
        self.parts: list[str] = []

    def text(self, data: Mapping[str, Any]) -> str:
        own = self.layers[0]
        entries = own.layout.entries
        if not entries or own.layout.flow:
            self.mapping(data, (), 0)
            return "".join(self.parts)
        self.parts.append(own.text[: entries[0].lead])
        base = next((entry for entry in entries if entry.key == BASE), None)
        if base is not None and (self.order or base is entries[0]):
            self.add(own.text[base.lead : base.stop])
        self.mapping(data, (), _column(own, entries[0]))
        self.add(own.text[entries[-1].stop :])
        return "".join(self.parts)

    def add(self, text: str) -> None:
        if text:
            self.parts.append(text if text.endswith("\n") else f"{text}\n")

    def mapping(self, data: Mapping[str, Any], above: Keys, column: int) -> None:
        for key in self.keys(data, above):
            if key in data:
                self.entry((*above, key), data[key], column)
            else:
                layer = self.layers[0]
                self.copy(layer, next(entry for entry in layer.layout.entries if entry.key == BASE), column)

    def keys(self, data: Mapping[str, Any], above: Keys) -> list[str]:
        if self.order:
            return list(data)
        layer = self.layers[0]
        found = layer.layout.find(above) if above else None
        entries = (found.children if found else None) if above else layer.layout.entries
        keys = [entry.key for entry in entries or ()]
        base = () if above or layer.layout.flow or keys[:1] == [BASE] else (BASE,)
        first = [key for key in keys if key in data or key in base]
        return [*first, *(key for key in data if key not in first)]

    def entry(self, path: Keys, value: Any, column: int) -> None:
        owners = [(layer, entry) for layer in self.layers if (entry := layer.layout.find(path)) is not None]
        if isinstance(value, dict) and value:
            owners = [(layer, entry) for layer, entry in owners if entry.children is not None]
            if self.whole(owners, path, value):
                self.copy(*owners[0], column)
            else:
                self.block(owners, path, value, column)
            return
        same = [(layer, entry) for layer, entry in owners if value_at(layer.coded, path, _ABSENT) == value]
        if not same:
            raise BemError(f"{'.'.join(path)} is in none of the bases")
        self.copy(*same[0], column)

    def whole(self, owners: Sequence[tuple[Source, Entry]], path: Keys, value: Mapping[str, Any]) -> bool:
        """Tell whether the first file that has a mapping has all of it, so that it can be copied as it stands."""
        return bool(owners) and typed_equal(value_at(owners[0][0].coded, path), dict(value), self.order)

    def block(self, owners: Sequence[tuple[Source, Entry]], path: Keys, value: Mapping[str, Any], column: int) -> None:
        layer, entry = owners[0]
        children = entry.children or []
        if entry.flow or not children or children[0].flow:
            self.add(f"{' ' * column}{path[-1]}:")
            self.mapping(value, path, column + 2)
            return
        self.add(_moved(layer.text[entry.lead : entry.inner], column - _column(layer, entry)))
        inner = column + _column(layer, children[0]) - _column(layer, entry)
        self.mapping(value, path, inner)
        self.add(_moved(layer.text[children[-1].stop : entry.stop], column - _column(layer, entry)))

    def copy(self, layer: Source, entry: Entry, column: int) -> None:
        if entry.flow:
            self.add(f"{' ' * column}{spelt(Holder(layer, entry), column)}")
        else:
            self.add(_moved(layer.text[entry.lead : entry.stop], column - _column(layer, entry)))


def _column(layer: Source, entry: Entry) -> int:
    return int(entry.key_node.start_mark.index) - entry.start


def _moved(text: str, by: int) -> str:
    """Move every line by some columns."""
    return shift(f"\n{text}", by)[1:] if by else text
