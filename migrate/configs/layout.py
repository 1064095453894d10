"""Where each key of a YAML file stands, and which comments are its own.

Everything is an offset into the text. A comment belongs to the key below it, or to the one whose line it is on; one
that stands deeper than the key below it belongs to the block above. What stands at the top of a file, set off by a
blank line, belongs to the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from bem_core.errors import BemError

Keys = tuple[str, ...]
_COMMENT = re.compile(r"(?:^|(?<=[\s,\[\]{}]))#[^\r\n]*", re.MULTILINE)


class LayoutError(BemError):
    """The text is valid YAML in a form that can't be edited by lines; the message is the reason."""


@dataclass(slots=True)
class Entry:
    """A key of a mapping and its value.

    Attributes:
        path: Keys from the root.
        key_node: Its key.
        value: Its value.
        flow: Whether it stands in braces.
        lead: Where what belongs to it begins: comments and blank lines above its line.
        start: Where its line begins; in braces, where its key begins.
        inner: Where the line after its key begins, which is where the block under it begins.
        end: After the line end of its last line; in braces, where its value ends.
        stop: Where what belongs to the next entry begins.
        children: The entries of its value; None when the value is a leaf.
    """

    path: Keys
    key_node: yaml.ScalarNode
    value: yaml.Node
    flow: bool
    lead: int
    start: int
    inner: int
    end: int
    stop: int
    children: list[Entry] | None = None

    @property
    def key(self) -> str:
        """The key."""
        return self.path[-1]

    @property
    def value_end(self) -> int:
        """Where the value ends, without what follows on its last line."""
        return max(self.key_node.end_mark.index, _value_end(self.value))


class Comment(NamedTuple):
    """A comment.

    Attributes:
        path: Keys down to the entry it belongs to.
        place: Where it stands: ``above`` the key, ``beside`` it, ``inside`` its value or ``below`` its block.
        text: From its number sign to the end of the line.
        offset: Where it begins.
    """

    path: Keys
    place: str
    text: str
    offset: int


@dataclass(slots=True)
class Layout:
    """The keys of one text."""

    text: str
    entries: list[Entry] = field(default_factory=list)
    flow: bool = False

    def walk(self) -> Iterator[Entry]:
        """Yield every entry, parents before their children."""
        yield from _walk(self.entries)

    def find(self, path: Keys) -> Entry | None:
        """Return the entry at ``path``."""
        entries: list[Entry] | None = self.entries
        found = None
        for key in path:
            found = next((entry for entry in entries or () if entry.key == key), None)
            if found is None:
                return None
            entries = found.children
        return found

    def comments(self, entry: Entry) -> Iterator[Comment]:
        """Yield the comments of an entry and of everything under it."""
        text = self.text
        if entry.flow:
            yield from _found(entry.path, "inside", text, entry.lead, entry.stop, _scalars(entry.key_node, entry.value))
            return
        yield from _found(entry.path, "above", text, entry.lead, entry.start, [])
        if entry.children is None or (entry.children and entry.children[0].flow):
            inside = _scalars(entry.key_node, entry.value)
            yield from _found(entry.path, "inside", text, entry.start, entry.value_end, inside)
            yield from _found(entry.path, "beside", text, entry.value_end, entry.end, [])
            yield from _found(entry.path, "below", text, entry.end, entry.stop, [])
            return
        yield from _found(entry.path, "beside", text, entry.key_node.end_mark.index, entry.inner, [])
        for child in entry.children:
            yield from self.comments(child)
        last = entry.children[-1].stop if entry.children else entry.inner
        yield from _found(entry.path, "below", text, last, entry.stop, [])


def _walk(entries: list[Entry]) -> Iterator[Entry]:
    for entry in entries:
        yield entry
        yield from _walk(entry.children or [])


def lay_out(text: str, root: yaml.MappingNode) -> Layout:
    """Find the entries of a text.

    Args:
        text: The text.
        root: Its composed root; keys are plain strings.

    Raises:
        LayoutError: A key does not stand at the start of its line, or has a question mark.
    """
    if not root.value:
        return Layout(text)
    if root.flow_style:
        return Layout(text, _flow(text, root, ()), flow=True)
    first = text.rfind("\n", 0, root.value[0][0].start_mark.index) + 1
    last = _line_end(text, _value_end(root.value[-1][1]))
    return Layout(text, _block(text, root, (), _head_end(text, first), _split(text, last, len(text), 0)))


def _head_end(text: str, first: int) -> int:
    """Return where the head of a file ends: before the comment lines that touch the first key, if others are above."""
    lines = text[:first].splitlines(keepends=True)
    touching = 0
    for line in reversed(lines):
        if not line.lstrip().startswith("#"):
            break
        touching += len(line)
    above = text[: first - touching].replace("---", "")
    return first - touching if "#" in above else first


def _block(text: str, node: Any, above: Keys, low: int, high: int) -> list[Entry]:
    pairs = node.value
    starts = [_line_start(text, key) for key, _ in pairs]
    ends = [_line_end(text, max(key.end_mark.index, _value_end(value))) for key, value in pairs]
    column = pairs[0][0].start_mark.index - starts[0]
    leads = [low, *(_split(text, end, start, column) for end, start in zip(ends, starts[1:], strict=False))]
    entries = []
    for (key, value), lead, start, end, stop in zip(pairs, leads, starts, ends, [*leads[1:], high], strict=True):
        inner = _line_end(text, key.end_mark.index)
        entry = Entry((*above, key.value), key, value, False, lead, start, inner, end, stop)
        if isinstance(value, yaml.MappingNode) and value.value:
            below = _flow(text, value, entry.path) if value.flow_style else _block(text, value, entry.path, inner, stop)
            entry.children = below
        entries.append(entry)
    return entries


def _flow(text: str, node: Any, above: Keys) -> list[Entry]:
    entries: list[Entry] = []
    for key, value in node.value:
        start, end = key.start_mark.index, max(key.end_mark.index, _value_end(value))
        gap = text[entries[-1].end if entries else node.start_mark.index + 1 : start]
        if "?" in _COMMENT.sub("", gap):
            raise LayoutError("a key with a question mark")
        if entries:
            entries[-1].stop = start
        entry = Entry((*above, key.value), key, value, True, start, start, start, end, end)
        if isinstance(value, yaml.MappingNode) and value.value:
            entry.children = _flow(text, value, entry.path)
        entries.append(entry)
    return entries


def _line_start(text: str, key: yaml.Node) -> int:
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    if text[start : key.start_mark.index].strip(" "):
        raise LayoutError(f"line {key.start_mark.line + 1}: the key does not stand at the start of its line")
    return start


def _line_end(text: str, offset: int) -> int:
    """Return the start of the next line, or ``offset`` when a line begins there already."""
    if offset and text[offset - 1] == "\n":
        return offset
    return text.find("\n", offset) + 1 or len(text)


def _value_end(node: yaml.Node) -> int:
    """Return where a value ends; the end mark of a block is no help, for it is at the next thing that is no comment.

    A block scalar ends after the blank lines below it, which are its own if they are kept.
    """
    if isinstance(node, yaml.ScalarNode):
        return int(node.end_mark.index)
    assert isinstance(node, yaml.CollectionNode)
    if node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    if isinstance(last, tuple):
        return max(int(last[0].end_mark.index), _value_end(last[1]))
    return max(int(last.start_mark.index), _value_end(last))


def _split(text: str, low: int, high: int, column: int) -> int:
    """Return where the comments that stand deeper than ``column`` end, in a gap of comments and blank lines."""
    at = cut = low
    for line in text[low:high].splitlines(keepends=True):
        at += len(line)
        bare = line.lstrip(" \t")
        if bare.startswith("#"):
            if len(line) - len(bare) <= column:
                break
            cut = at
        elif bare.strip():
            break
    return cut


def _scalars(*nodes: yaml.Node) -> list[tuple[int, int]]:
    """Return the spans of the scalars in nodes, without the line on which a block scalar begins."""
    spans: list[tuple[int, int]] = []
    for node in nodes:
        if isinstance(node, yaml.ScalarNode):
            spans.append((int(node.start_mark.index), int(node.end_mark.index)))
        elif isinstance(node, yaml.SequenceNode):
            spans += _scalars(*node.value)
        else:
            spans += _scalars(*(part for pair in node.value for part in pair))
    return spans


def _found(path: Keys, place: str, text: str, low: int, high: int, scalars: list[tuple[int, int]]) -> Iterator[Comment]:
    """Yield the comments between two offsets, outside of the scalars."""
    if "#" not in text[low:high]:
        return
    at = low
    for start, end in [*scalars, (high, high)]:
        head = text.find("\n", start, end) if start < end and text[start] in "|>" else start
        for found in _COMMENT.finditer(text, at, max(at, min(head, high))):
            yield Comment(path, place, found[0].rstrip(), found.start())
        at = max(at, end)
