"""From the nodes of a file to the entries of a list of moves: the long form, the short form, and every key."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, cast

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from migrate.moves import Kind, Move
from migrate.moves_check import Entry
from migrate.nodes import MAX_SHOWN, Place, Problems, clip, describe, kind_of, place

MAX_NAME = 500
KINDS = ("module", "symbol")
TOP_KEYS = ("version", "moves")
ENTRY_KEYS = ("old", "new", "kind", "split", "removed", "shim_only", "since", "removed_in", "note")
SCHEMA_KEY = "$schema"
MODULE = "a dotted name such as 'pkg.mod'"
NAME = f"{MODULE} or 'pkg.mod:Class.attr'"

_TEXT_KINDS = frozenset({"str"})
_VERSION_KINDS = frozenset({"str", "int", "float", "timestamp"})
_Pairs = dict[str, tuple[Node, Node]]


def entries(root: Node, problems: Problems) -> Iterator[Entry]:
    """Yield the entries of a document in either form, and record what is wrong with each."""
    return _Reader(problems).read(root)


class _Name(NamedTuple):
    """A name as written; ``attr`` is what follows a colon."""

    module: str
    attr: str
    where: Place

    @property
    def dotted(self) -> str:
        return f"{self.module}.{self.attr}" if self.attr else self.module

    @property
    def spelled(self) -> str:
        return f"{self.module}:{self.attr}" if self.attr else self.module


class _Reader:
    """Turns nodes into entries, and records what is wrong with each."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def read(self, root: Node) -> Iterator[Entry]:
        """Yield the entries of a document in either form."""
        if not isinstance(root, MappingNode):
            what = f"the file holds {describe(root)}"
            self.problems.add(place(root), what, "'version: 1' and 'moves:', or a mapping of old to new names")
            return
        pairs = {key: pair for key, pair in self.pairs(root).items() if key != SCHEMA_KEY}
        if _is_long(pairs):
            yield from self.long_form(root, pairs)
            return
        for key, value in pairs.values():
            yield from self.short_form(key, value)

    def short_form(self, key: Node, value: Node) -> Iterator[Entry]:
        if not isinstance(value, ScalarNode):
            expected = "a new name, or 'version: 1' and 'moves:' around entries with keys"
            self.problems.add(place(value), f"{clip(key.value)} is {describe(value)}", expected)
            return
        old, new = self.name(key, "old name"), self.name(value, "new name")
        if old and new:
            yield from self.moved(old, new, "", Move(""))

    def long_form(self, root: Node, pairs: _Pairs) -> Iterator[Entry]:
        self.known(pairs, TOP_KEYS)
        if "version" not in pairs:
            self.problems.add(place(root), "key 'version' is missing", "'version: 1'")
        elif (kind_of(version := pairs["version"][1]), version.value) != ("int", "1"):
            self.problems.add(place(version), f"'version' is {describe(version)}", "1")
        if "moves" not in pairs:
            self.problems.add(place(root), "key 'moves' is missing", "'moves:' and a list of entries")
            return
        for node in self.items(pairs["moves"][1], "'moves'", "entries"):
            yield from self.entry(node)

    def entry(self, node: Node) -> Iterator[Entry]:
        """Yield what one item of ``moves`` says: a move for each old name, and for each name of a split."""
        if not isinstance(node, MappingNode):
            self.problems.add(place(node), f"an entry is {describe(node)}", "a mapping with 'old' and 'new'")
            return
        pairs = self.pairs(node)
        self.known(pairs, ENTRY_KEYS)
        base = Move(
            "",
            removed=self.text(pairs, "removed"),
            shim_only=self.text(pairs, "shim_only"),
            since=self.text(pairs, "since", _VERSION_KINDS),
            removed_in=self.text(pairs, "removed_in", _VERSION_KINDS),
            note=self.text(pairs, "note"),
        )
        kind = self.kind(pairs)
        olds = self.olds(node, pairs)
        new = self.name(pairs["new"][1], "new name") if "new" in pairs else None
        if not self.fits(node, pairs):
            return
        if "split" in pairs:
            yield from self.split(olds, pairs, new, kind, base)
        for old in olds if "split" not in pairs else ():
            if new or "removed" in pairs:
                yield from self.moved(old, new, kind, base)

    def fits(self, node: Node, pairs: _Pairs) -> bool:
        """Whether the keys of an entry go together; says so where they don't."""
        given = [key for key in ("removed", "new", "split", "shim_only") if key in pairs]
        what = expected = ""
        if not {"new", "split", "removed"}.intersection(given):
            what, expected = "an entry has no new name", "'new', 'split' or 'removed'"
        elif given[0] == "removed" and len(given) > 1:
            what, expected = f"'removed' contradicts {given[1]!r}", "one of the two"
        elif "split" in given and "shim_only" in given:
            what, expected = "'shim_only' contradicts 'split'", "an entry for each name that needs an adapter"
        if what:
            self.problems.add(place(node), what, expected)
        return not what

    def moved(self, old: _Name, new: _Name | None, kind: str, base: Move) -> Iterator[Entry]:
        """Yield one old name with its new name, or none where it was removed, when they can be of the same kind."""
        colon = next((name for name in (old, new) if name and name.attr), None)
        if kind == "module" and colon:
            what = f"'kind' is module, but {clip(colon.spelled)} names something inside a module"
            self.problems.add(colon.where, what, "dots only, or 'kind: symbol'")
        elif kind != "symbol" and not colon:
            yield _entry(old, base, module=new.module if new else "", kind=cast(Kind, kind or "auto"))
        elif "." not in old.dotted:
            self.problems.add(old.where, f"symbol {clip(old.dotted)} has no module", "'module:name'")
        elif not new:
            yield _entry(old, base, kind="symbol")
        elif not new.attr and "." not in new.module:
            what = f"{clip(old.spelled)} is a symbol, but {clip(new.module)} can only be a module"
            example = f"{new.module}:{old.dotted.rpartition('.')[2]}"
            self.problems.add(new.where, what, f"a name inside it, such as {clip(example)}")
        else:
            module, _, attr = new.module.rpartition(".")
            if new.attr:
                module, attr = new.module, new.attr
            yield _entry(old, base, bare=not new.attr, module=module, attr=attr, kind="symbol")

    def split(self, olds: list[_Name], pairs: _Pairs, rest: _Name | None, kind: str, base: Move) -> Iterator[Entry]:
        """Yield a symbol for each name of a split module, and one move for everything else in it."""
        node = pairs["split"][1]
        symbols = [name for name in (*olds, rest) if name and name.attr]
        if kind == "symbol" or symbols:
            where = symbols[0].where if symbols else place(node)
            self.problems.add(where, "only a module can be split", "modules, written with dots only")
            return
        if len(olds) > 1:
            self.problems.add(olds[1].where, "'split' with several old names", "one entry for each")
        if not isinstance(node, MappingNode) or not node.value:
            what = f"'split' is {describe(node) if node.value else 'empty'}"
            self.problems.add(place(node), what, "a mapping of new modules to lists of names")
            return
        modules: list[str] = []
        for key, value in self.pairs(node).values():
            module = self.name(key, "new module", colon=False)
            names = [self.name(item, "name", colon=False) for item in self.items(value, clip(key.value), "names")]
            if module and olds:
                modules.append(module.dotted)
                for name in filter(None, names):
                    old = _Name(olds[0].module, name.module, name.where)
                    yield _entry(old, base, module=module.module, attr=name.module, kind="symbol")
        for old in olds[:1]:
            yield from _rest(old, rest, modules, base)

    def olds(self, node: Node, pairs: _Pairs) -> list[_Name]:
        if "old" not in pairs:
            self.problems.add(place(node), "key 'old' is missing", "the old name")
            return []
        value = pairs["old"][1]
        nodes = self.items(value, "'old'", "names") if isinstance(value, SequenceNode) else [value]
        return [name for name in (self.name(item, "old name") for item in nodes) if name]

    def kind(self, pairs: _Pairs) -> str:
        if "kind" not in pairs:
            return ""
        node = pairs["kind"][1]
        if isinstance(node, ScalarNode) and node.value in KINDS:
            return str(node.value)
        if isinstance(node, ScalarNode):
            self.problems.unknown(place(node), "kind", node.value, KINDS)
        else:
            self.problems.add(place(node), f"'kind' is {describe(node)}", " or ".join(KINDS))
        return ""

    def items(self, node: Node, what: str, of: str) -> list[Node]:
        """Return the items of a list that isn't empty, except that a file may list no moves at all."""
        if isinstance(node, SequenceNode) and (node.value or of == "entries"):
            return list(node.value)
        self.problems.add(place(node), f"{what} is {describe(node) if node.value else 'empty'}", f"a list of {of}")
        return []

    def pairs(self, node: MappingNode) -> _Pairs:
        """Return key and value nodes by key."""
        found: _Pairs = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.problems.add(place(key), f"a key is {describe(key)}", "a text")
            elif key.value in found:
                line = place(found[key.value][0])[0]
                what = f"{clip(key.value)} is given twice, first at line {line}"
                self.problems.add(place(key), what, "one of the two")
            else:
                found[key.value] = key, value
        return found

    def known(self, pairs: _Pairs, valid: tuple[str, ...]) -> None:
        for name, (key, _) in pairs.items():
            if name not in valid:
                self.problems.unknown(place(key), "key", name, valid)

    def text(self, pairs: _Pairs, key: str, kinds: frozenset[str] = _TEXT_KINDS) -> str:
        if key not in pairs:
            return ""
        node = pairs[key][1]
        if isinstance(node, ScalarNode) and kind_of(node) in kinds and node.value.strip():
            return str(node.value).strip()
        self.problems.add(place(node), f"{key!r} is {describe(node)}", "a text")
        return ""

    def name(self, node: Node, what: str, *, colon: bool = True) -> _Name | None:
        """Return the name that a node spells, or None when it is malformed."""
        expected = NAME if colon else MODULE
        if not isinstance(node, ScalarNode) or kind_of(node) != "str":
            quotes = ", in quotes" if isinstance(node, ScalarNode) and node.value else ""
            self.problems.add(place(node), f"{what} is {describe(node)}", expected + quotes)
            return None
        fault = _fault(node.value, colon)
        if fault:
            self.problems.add(place(node), f"{what} {clip(node.value)} {fault}", expected, _repair(node.value))
            return None
        module, _, attr = node.value.partition(":")
        return _Name(module, attr, place(node))


def _is_long(pairs: _Pairs) -> bool:
    """Whether a document is in the long form: a module may well be called ``moves`` or ``version``."""
    return any(key in pairs and kind_of(pairs[key][1]) != "str" for key in TOP_KEYS)


def _entry(old: _Name, base: Move, *, bare: bool = False, kind: Kind, module: str = "", attr: str = "") -> Entry:
    line, column = old.where
    return Entry(replace(base, old=old.dotted, module=module, attr=attr, kind=kind, line=line), column, bare)


def _rest(old: _Name, new: _Name | None, modules: list[str], base: Move) -> Iterator[Entry]:
    """Yield where the names of a split module go that the entry doesn't list.

    Nowhere, when the module stays: it is the ``new`` one, or the package that the new modules are in.
    """
    if new is not None:
        if new.module != old.module:
            yield _entry(old, base, module=new.module, kind="module")
    elif not any(f"{module}.".startswith(f"{old.module}.") for module in modules):
        advice = f"{old.module} was split into {', '.join(modules)}: import the name from there"
        yield _entry(old, replace(base, removed=advice), kind="module")


def _fault(text: str, colon: bool) -> str:
    """Return what is wrong with a name, or nothing."""
    if len(text) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if text.count(":") > colon:
        return "has more than one colon" if colon else "has a colon"
    for part in text.replace(":", ".").split("."):
        if not part:
            return "has an empty part"
        if not part.isidentifier():
            return f"is malformed: {clip(part)} is not an identifier"
        if keyword.iskeyword(part):
            return f"is malformed: {clip(part)} is a keyword"
    return ""


def _repair(text: str) -> str:
    """Return a hint with the dotted name that a path or a distribution name stands for."""
    if len(text) > MAX_SHOWN:
        return ""
    name = ".".join(filter(None, re.split(r"[./\\\s]+", text.removesuffix(".py")))).replace("-", "_")
    return f"; did you mean {name!r}?" if name != text and not _fault(name, True) else ""
