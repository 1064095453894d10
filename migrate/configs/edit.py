"""Turns the text of a file into that of its overlay, and back, by replacing spans: what stays keeps every byte."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from migrate import edits
from migrate.configs.layout import Comment, Entry, Layout
from migrate.configs.source import BASE, DELETE, Source


@dataclass(slots=True)
class Rewritten:
    """A text that says only what an overlay says.

    Attributes:
        text: The new text.
        removed: Entries that are gone, each with all that was under it.
        lost: Comments that are gone with what was not moved: the old ``base_config`` line.
    """

    text: str
    removed: list[Entry] = field(default_factory=list)
    lost: list[Comment] = field(default_factory=list)


def rewrite(source: Source, overlay: Mapping[str, Any], bases: Sequence[str]) -> Rewritten:
    """Leave only an overlay of a file, on top of bases.

    Args:
        source: The file.
        overlay: What is to stay, coded; ``_delete_`` is as it is to be written.
        bases: What ``base_config`` is to name; nothing for no such line.
    """
    editor = _Editor(source)
    layout = source.layout
    if layout.flow:
        editor.braces(layout.entries, overlay, source.document.node, bases)
    else:
        editor.root(layout.entries, overlay, bases)
    return Rewritten(edits.apply(source.text, editor.edits), editor.removed, editor.lost)


class _Editor:
    def __init__(self, source: Source) -> None:
        self.text = source.text
        self.layout: Layout = source.layout
        self.newline = source.newline
        self.edits: list[edits.Edit] = []
        self.removed: list[Entry] = []
        self.lost: list[Comment] = []

    def replace(self, start: int, end: int, new: str) -> None:
        if start != end or new:
            self.edits.append(edits.Edit(start, end, new, "config"))

    def root(self, entries: list[Entry], overlay: Mapping[str, Any], bases: Sequence[str]) -> None:
        """Edit the top of a file, where the bases are named."""
        old = next((entry for entry in entries if entry.key == BASE), None)
        column = entries[0].key_node.start_mark.index - entries[0].start
        lines = [f"{BASE}: {name_bases(bases)}"] if bases else []
        if old is None or not bases:
            self.insert(entries[0].lead, column, lines + delete_lines(overlay))
        elif _names(old) == tuple(bases):
            self.insert(old.end, column, delete_lines(overlay))
        else:
            self.replace(old.start, old.end, self.block(column, lines + delete_lines(overlay), old.end))
            self.lost += [found for found in self.layout.comments(old) if found.place not in ("above", "below")]
        if old is not None and not bases:
            self.replace(old.lead, old.stop, "")
            self.lost += self.layout.comments(old)
        self.entries([entry for entry in entries if entry is not old], overlay)

    def entries(self, entries: list[Entry], overlay: Mapping[str, Any]) -> None:
        """Edit the entries of a block."""
        for entry in entries:
            if entry.key == DELETE:
                self.replace(entry.lead, entry.stop, "")
            elif entry.key not in overlay:
                self.removed.append(entry)
                self.replace(entry.lead, entry.stop, "")
            else:
                self.value(entry, overlay[entry.key])

    def value(self, entry: Entry, kept: Any) -> None:
        """Edit what is under a key that stays."""
        if not isinstance(kept, dict):
            return
        if entry.children is None:
            if DELETE in kept:
                self.replace(entry.value.start_mark.index, entry.value.end_mark.index, f"{{{_delete(kept)}}}")
        elif entry.children[0].flow:
            self.braces(entry.children, kept, entry.value, ())
        else:
            first = entry.children[0]
            self.insert(entry.inner, first.key_node.start_mark.index - first.start, delete_lines(kept))
            self.entries(entry.children, kept)

    def insert(self, at: int, column: int, lines: list[str]) -> None:
        if lines:
            self.replace(at, at, self.block(column, lines, len(self.text) + 1))

    def block(self, column: int, lines: list[str], end: int) -> str:
        """Return lines at a column; the last has a line end unless the text they replace has none either."""
        text = "".join(f"{' ' * column}{line}{self.newline}" for line in lines)
        unended = end == len(self.text) and not self.text.endswith("\n")
        return text.removesuffix(self.newline) if unended else text

    def braces(self, entries: list[Entry], overlay: Mapping[str, Any], node: Any, bases: Sequence[str]) -> None:
        """Edit a mapping in braces: cut what goes together with one comma."""
        stays = [entry.key in overlay and entry.key not in (DELETE, BASE) for entry in entries]
        last = max((number for number, stay in enumerate(stays) if stay), default=-1)
        for number, (entry, stay) in enumerate(zip(entries, stays, strict=True)):
            if stay:
                self.value(entry, overlay[entry.key])
                continue
            if entry.key not in (DELETE, BASE):
                self.removed.append(entry)
            elif entry.key == BASE:
                self.lost += self.layout.comments(entry)
            if number < last:
                self.replace(entry.start, entry.stop, "")
            else:
                self.replace(_before(entries, number), entry.end, "")
        quoted = [json.dumps(base, ensure_ascii=False) for base in bases]  # the file may be JSON
        named = quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
        parts = [f'"{BASE}": {named}'] * bool(bases) + delete_lines(overlay)
        if parts:
            self.replace(node.start_mark.index + 1, node.start_mark.index + 1, ", ".join(parts) + ", " * (last >= 0))


def _names(entry: Entry) -> tuple[str, ...]:
    """Return the texts that an entry names, as far as they are simple."""
    value = entry.value
    items = value.value if isinstance(value, yaml.SequenceNode) else [value]
    return tuple(str(item.value) for item in items if isinstance(item, yaml.ScalarNode))


def _before(entries: list[Entry], number: int) -> int:
    """Return where the entry before ends: the last entries go with the commas in front of them."""
    return entries[number - 1].end if number else entries[0].start


def name_bases(bases: Sequence[str]) -> str:
    """Return what stands behind ``base_config:``."""
    names = [_quoted(name) for name in bases]
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _quoted(text: str) -> str:
    """Return a text as YAML; plain when no reader can take it for something else."""
    plain = text and text.replace("_", "a").replace("-", "a").replace("/", "a").replace(".", "a").isalnum()
    return (
        text
        if plain and text.isascii() and (text[0].isalpha() or text.startswith("../"))
        else json.dumps(text, ensure_ascii=False)
    )


def _delete(overlay: Mapping[str, Any]) -> str:
    what = overlay[DELETE]
    return f"{DELETE}: true" if what is True else f"{DELETE}: [{', '.join(map(key_text, what))}]"


def delete_lines(overlay: Mapping[str, Any]) -> list[str]:
    """Return the line that deletes what an overlay deletes, if it does."""
    return [_delete(overlay)] if DELETE in overlay else []


def key_text(name: str) -> str:
    """Return a key as YAML that is a text in both versions of it."""
    quoted = _quoted(name)
    if quoted == name and isinstance(yaml.safe_load(name), str) and not any(c.isdigit() for c in name[:1]):
        return name
    return json.dumps(name, ensure_ascii=False)
