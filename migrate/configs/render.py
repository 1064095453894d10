"""Writes a template as text: values as the files spelt them, with their comments, below a list of who extends it."""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from bem_core.errors import BemError
from migrate.configs.codes import code
from migrate.configs.comments import Holder, Moved, lines_above
from migrate.configs.edit import delete_lines, key_text, name_bases
from migrate.configs.layout import Keys
from migrate.configs.source import BASE, DELETE, from_text
from migrate.configs.strict import PLACE

MARK = "# Shared by the files below; written by `bem-migrate configs`."
_MEMBER = "#   "
_WIDTH = 100


@dataclass(slots=True)
class Body:
    """What a template is to hold.

    Attributes:
        values: Its overlay, coded, keys in the order in which they are to be written.
        bases: What its ``base_config`` names.
        members: Files and templates that extend it.
        moved: Where its values and comments come from.
        spare: Further entries by path and code, for values that no file gave up.
    """

    values: Mapping[str, Any]
    bases: tuple[str, ...]
    members: tuple[str, ...]
    moved: Moved
    spare: dict[Keys, list[Holder]] = field(default_factory=dict)


class _Spelling(NamedTuple):
    text: str
    beside: str
    inside: tuple[str, ...]


def header(members: Sequence[str]) -> str:
    """Return the lines that say what the file is and who extends it."""
    names = textwrap.wrap(", ".join(members), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{line}\n" for line in [MARK, *(f"{_MEMBER}{line}" for line in names)])


def with_header(text: str, members: Sequence[str]) -> str:
    """Return a template of ours with another list of users."""
    lines = text.splitlines(keepends=True)
    end = 1
    while end < len(lines) and lines[end].startswith(_MEMBER):
        end += 1
    return header(members) + "".join(lines[end:])


def members_in(text: str) -> list[str]:
    """Return the names that the header of a template lists."""
    lines = text.splitlines()[1:]
    end = next((number for number, line in enumerate(lines) if not line.startswith(_MEMBER)), len(lines))
    return [name for line in lines[:end] for name in line.removeprefix(_MEMBER).rstrip(",").split(", ") if name]


def is_ours(text: str) -> bool:
    """Tell whether a template was written by this tool."""
    return text.startswith(MARK)


def render(body: Body, order: bool = False) -> str:
    """Return the text of a template."""
    lines = [f"{BASE}: {name_bases(body.bases)}"] if body.bases else []
    writer = _Writer(body, order)
    writer.mapping(body.values, (), 0)
    return header(body.members) + "\n" + "".join(f"{line}\n" for line in lines) + "".join(writer.parts)


class _Writer:
    def __init__(self, body: Body, order: bool) -> None:
        self.body = body
        self.order = order
        self.parts: list[str] = []

    def mapping(self, values: Mapping[str, Any], above: Keys, column: int) -> None:
        indent = " " * column
        self.parts += [f"{indent}{line}\n" for line in delete_lines(values)]
        for key, value in values.items():
            if key == DELETE:
                continue
            path = (*above, key)
            if not above and isinstance(value, dict) and value and self.parts:
                self.parts.append("\n")
            if isinstance(value, dict) and value:
                self.block(path, value, column)
            else:
                self.leaf(path, value, column)

    def block(self, path: Keys, value: Mapping[str, Any], column: int) -> None:
        holders = self.body.moved.holders.get(path, [])
        blocks = [holder for holder in holders if holder.entry.children is not None]
        beside = next(iter(lines_above(blocks, (), ("beside",))), "")
        self.comments(lines_above(holders, (beside,), ("above", "beside", "inside")), column)
        name = _key_text(holders[0]) if holders else key_text(path[-1])
        self.parts.append(f"{' ' * column}{name}:{'  ' if beside else ''}{beside}\n")
        self.mapping(value, path, column + 2)
        above = lines_above(holders, (beside,), ("above", "beside", "inside"))
        self.comments(lines_above(holders, [beside, *above], ("below",)), column + 2)

    def leaf(self, path: Keys, value: Any, column: int) -> None:
        moved = self.body.moved.holders.get(path, [])
        wanted = "{}" if value == {} else value
        holders = [holder for holder in moved if _code(holder, self.order) == wanted]
        text, beside, inside = self.spelling(holders, column) if holders else self.copied(path, wanted)
        if "\n" in text:
            beside = ""  # behind the last line it would seem to speak of that line
        written = {beside, *inside}
        above = lines_above(moved, written, ("above", "beside", "inside"))
        self.comments(above, column)
        self.parts.append(f"{' ' * column}{text}")
        if beside:
            self.parts.append(f"  {beside}")
        if not self.parts[-1].endswith("\n"):
            self.parts.append("\n")
        deeper = 0 if "\n" in text else 2  # deeper than its key, a comment would be part of a block scalar
        self.comments(lines_above(moved, written.union(above), ("below",)), column + deeper)

    def comments(self, lines: Sequence[str], column: int) -> None:
        self.parts += [f"{' ' * column}{line}\n" for line in lines]

    def spelling(self, holders: Sequence[Holder], column: int) -> _Spelling:
        """Return the most common way to write a value that means the same where it is to stand."""
        beside = next(iter(lines_above(holders, (), ("beside",))), "")
        counted = Counter(_Spelling(spelt(holder, column), beside, holder.texts("inside")) for holder in holders)
        wanted = _code(holders[0], self.order)
        for spelling, _ in counted.most_common():
            if "\n" not in spelling.text or self.reads_as(spelling.text, column, wanted):
                return spelling
        holder = holders[0]
        return _Spelling(f"{_key_text(holder)}: {_in_braces(holder.entry.value, holder.source.text)}", "", ())

    def copied(self, path: Keys, wanted: str) -> _Spelling:
        """Return a way to write a value that no file has given up, without the comments of those that still have it."""
        if wanted == PLACE:
            return _Spelling(f"{key_text(path[-1])}: ???", "", ())
        for holder in self.body.spare.get(path, []):
            if _code(holder, self.order) == wanted:
                return _Spelling(f"{_key_text(holder)}: {_in_braces(holder.entry.value, holder.source.text)}", "", ())
        raise BemError(f"no file has the value {wanted} of {'.'.join(path)}")

    def reads_as(self, text: str, column: int, wanted: str) -> bool:
        try:
            source = from_text("", f"{' ' * column}{text}\n{' ' * column}'':\n", self.order)
            return code(source.document.node.value[0][1], self.order) == wanted
        except (BemError, IndexError):
            return False


def _code(holder: Holder, order: bool) -> str:
    value = holder.entry.value
    return code(value, order)


def _key_text(holder: Holder) -> str:
    key = holder.entry.key_node
    return holder.source.text[key.start_mark.index : key.end_mark.index]


def spelt(holder: Holder, column: int) -> str:
    """Return a key and its value as they stand in a file, moved to another column."""
    entry, text = holder.entry, holder.source.text
    value = text[entry.value.start_mark.index : entry.value_end].replace("\r\n", "\n")
    if "\n" not in value and not _is_block(entry.value):
        return f"{_key_text(holder)}: {value}".rstrip()
    start = entry.key_node.start_mark.index
    raw = f"{_key_text(holder)}: {value}" if entry.flow else text[start : entry.value_end].replace("\r\n", "\n")
    if not (isinstance(entry.value, yaml.ScalarNode) and "+" in value.split("\n", 1)[0]):
        raw = raw.rstrip("\n")
    return shift(raw, column - (start - (text.rfind("\n", 0, start) + 1)))


def _is_block(node: yaml.Node) -> bool:
    if isinstance(node, yaml.ScalarNode):
        return node.style in ("|", ">")
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def shift(text: str, by: int) -> str:
    """Move every line but the first by some columns, as far as there is room on its left."""
    if by > 0:
        return re.sub(r"\n(?=[^\n])", "\n" + " " * by, text)
    return re.sub(rf"\n {{1,{-by}}}", "\n", text) if by else text


def _in_braces(node: yaml.Node, text: str) -> str:
    """Write a value on one line; only for what cannot be moved as it is."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_in_braces(child, text) for child in node.value)}]"
    if isinstance(node, yaml.MappingNode):
        pairs = [f"{key_text(key.value)}: {_in_braces(value, text)}" for key, value in node.value]
        return f"{{{', '.join(pairs)}}}"
    assert isinstance(node, yaml.ScalarNode)
    written = text[node.start_mark.index : node.end_mark.index]
    if node.style in (None, "") and not re.search(r"[,\[\]{}\n#]", written):
        return written or "null"
    return json.dumps(node.value, ensure_ascii=False)
