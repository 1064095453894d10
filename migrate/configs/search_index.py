"""Documents as bitsets: which shared facts each holds, who holds each fact, and which keys each lacks.

A fact is a path with a typed value. Only facts that two documents hold can be in a template, so the others are left out
here and count as constant cost. A node is a key on the way to a fact, the fact's own included.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from migrate.configs.leaves import Path, flatten, key

Document = Mapping[Any, Any]
Fact = tuple[Path, Hashable]

# Bits from which on an array finds their positions in less time than a loop.
MANY = 40


@dataclass(slots=True)
class Content:
    """What a template sets.

    Attributes:
        facts: Its facts.
        nodes: Every key it has, leaves and mappings.
        ends: The keys that are leaves.
        rivals: Facts that give one of these keys another value.
    """

    facts: int
    nodes: int
    ends: int
    rivals: int

    def clashes(self, other: Content) -> bool:
        """Say whether both set the same leaf, or one a leaf where the other has a mapping."""
        return bool(self.ends & other.nodes or self.nodes & other.ends)

    def breaks(self, other: Content) -> bool:
        """Say whether one sets a leaf where the other has a mapping."""
        return bool(self.ends & (other.nodes & ~other.ends) or other.ends & (self.nodes & ~self.ends))


class Index:
    """Bitsets over the facts that at least ``support`` of ``documents`` hold.

    Attributes:
        sizes: Leaves of each document.
        facts: Path and value of each fact; those of one path are next to each other.
        held: Facts by document.
        same_path: Facts by fact that have the same path, itself included.
        lacks: Nodes by document that it lacks although it has the mapping around them: a base that sets one costs a
            deletion.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        fixed: Sequence[Document],
        support: int,
        identity: Callable[[Path], bool],
    ) -> None:
        leaves = [flatten(document) for document in documents]
        self.sizes = [len(found) for found in leaves]
        keyed = [{(path, key(value)): value for path, value in found.items()} for found in leaves]
        chosen = _shared(keyed, support, identity)
        pinned = [{(path, key(value)): value for path, value in flatten(document).items()} for document in fixed]
        for found in pinned:
            chosen.update((fact, value) for fact, value in found.items() if fact not in chosen)
        places: dict[Path, int] = {}
        for path, _ in chosen:
            places.setdefault(path, len(places))
        order = sorted(chosen, key=lambda fact: places[fact[0]])
        self.number = {fact: number for number, fact in enumerate(order)}
        self.facts = [(fact[0], chosen[fact]) for fact in order]
        self.path_of = np.array([places[path] for path, _ in order], dtype=np.int64)
        self.num_paths = len(places)
        self._nodes(list(places))
        self.same_path = self._by_path()
        self._num_bytes = (len(order) + 7) // 8
        self._lacking_by: dict[int, int] = {}
        self._parts: dict[tuple[int, int], Content] = {}
        self.held = [self.bits(found) for found in keyed]
        self.pinned = [self.content(self.bits(found)) for found in pinned]
        self.lacks = [self._lacking(document) for document in documents]

    def bits(self, found: Mapping[Fact, Any]) -> int:
        """Return the facts of one document as a bitset."""
        value = 0
        for fact in found:
            number = self.number.get(fact)
            if number is not None:
                value |= 1 << number
        return value

    def _nodes(self, paths: list[Path]) -> None:
        numbers: dict[Path, int] = {}
        self._tree: list[tuple[int, Path]] = []
        above = []
        for path in paths:
            bits = 0
            for length in range(1, len(path) + 1):
                prefix = path[:length]
                if prefix not in numbers:
                    numbers[prefix] = len(numbers)
                    self._tree.append((numbers.get(prefix[:-1], -1), prefix))
                bits |= 1 << numbers[prefix]
            above.append(bits)
        self.end = [1 << numbers[paths[number]] for number in self.path_of]
        self.above = [above[number] for number in self.path_of]
        self.parent_node = [parent for parent, _ in self._tree]

    def _lacking(self, document: Document) -> int:
        """Return the nodes that ``document`` lacks in a mapping that it has."""
        lacking = 0
        mappings: dict[int, Any] = {-1: document}
        for number, (parent, prefix) in enumerate(self._tree):
            around = mappings.get(parent)
            if around is None:
                continue
            if prefix[-1] not in around:
                lacking |= 1 << number
            elif isinstance(around[prefix[-1]], Mapping):
                mappings[number] = around[prefix[-1]]
        return lacking

    def _by_path(self) -> list[int]:
        """Return, by fact, the facts that have the same path, itself included."""
        by_path: dict[int, int] = {}
        paths: list[int] = self.path_of.tolist()
        for fact, path in enumerate(paths):
            by_path[path] = by_path.get(path, 0) | 1 << fact
        return [by_path[path] for path in paths]

    def content(self, facts: int) -> Content:
        """Return the content of a template that sets ``facts``."""
        nodes = ends = rivals = 0
        for place, byte in enumerate(facts.to_bytes(self._num_bytes, "little")):
            if byte:
                part = self._parts.get((place, byte)) or self._part(place, byte)
                nodes |= part.nodes
                ends |= part.ends
                rivals |= part.rivals
        return Content(facts, nodes, ends, rivals & ~facts)

    def _part(self, place: int, byte: int) -> Content:
        """Return the content of eight facts at most, and remember it."""
        nodes = ends = rivals = 0
        for fact in members(byte):
            fact += 8 * place
            nodes |= self.above[fact]
            ends |= self.end[fact]
            rivals |= self.same_path[fact]
        part = self._parts[place, byte] = Content(0, nodes, ends, rivals)
        return part

    def lacking(self, nodes: int) -> int:
        """Return the nodes that a template with ``nodes`` would delete: those it lacks in mappings it has."""
        if nodes not in self._lacking_by:
            lacking = 0
            for node, parent in enumerate(self.parent_node):
                if not nodes >> node & 1 and (parent < 0 or nodes >> parent & 1):
                    lacking |= 1 << node
            self._lacking_by[nodes] = lacking
        return self._lacking_by[nodes]

    def join(self, first: Content, second: Content) -> Content:
        """Return what two bases set together; where they disagree, nothing but the key, since a child must say."""
        return Content(
            first.facts & ~second.rivals | second.facts & ~first.rivals,
            first.nodes | second.nodes,
            first.ends | second.ends,
            first.rivals | second.rivals,
        )

    def sound(self, content: Content) -> bool:
        """Say whether no fact lies under another, which no document could hold."""
        if not content.ends & self.inner:
            return True
        return not any(self.above[fact] & ~self.end[fact] & content.ends for fact in members(content.facts))

    def way_to(self, node: int) -> list[int]:
        """Return a node and all above it."""
        found = []
        while node >= 0:
            found.append(node)
            node = self.parent_node[node]
        return found

    @cached_property
    def inner(self) -> int:
        """Nodes that have others under them, a leaf in some documents though they may be."""
        nodes = 0
        for parent in self.parent_node:
            if parent >= 0:
                nodes |= 1 << parent
        return nodes

    @cached_property
    def layout(self) -> Layout:
        """The arrays of `search_values`."""
        return Layout(self)


class Layout:
    """Facts of each path and, after them, its absence: one row of entries for arithmetic on all paths at once.

    Attributes:
        starts: First entry of each path.
        absent: Entry of each path that means absence; the last of the path.
        entry: Entry by fact.
        path: Path by entry.
        matrix: Documents by entries: 1 where the document holds the fact, or lacks the path.
        missing: Documents by paths: the node to delete so that the path goes; the number of nodes when none is.
    """

    def __init__(self, index: Index) -> None:
        counts = np.bincount(index.path_of, minlength=index.num_paths) + 1
        self.starts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)
        self.absent = self.starts + counts - 1
        self.path = np.repeat(np.arange(index.num_paths), counts)
        self.entry = np.arange(len(index.facts)) + index.path_of
        self.matrix = np.zeros((len(index.held), len(self.path)), dtype=np.uint8)
        for row, facts in zip(self.matrix, index.held, strict=True):
            row[self.entry] = unpack(facts, len(index.facts))
        self.missing = np.zeros((len(index.held), index.num_paths), dtype=np.int32)
        self.deep = [node for node, parent in enumerate(index.parent_node) if parent >= 0]
        ends = np.zeros(index.num_paths, dtype=np.int64)
        for number, fact in enumerate(index.path_of.tolist()):
            ends[fact] = index.end[number].bit_length() - 1
        self._mark_absent(index, ends)
        above = [(path, node) for path, end in enumerate(ends.tolist()) for node in index.way_to(end)]
        self.above_path, self.above_node = np.array(above, dtype=np.int64).reshape(-1, 2).T
        self.num_nodes = len(index.parent_node)

    def num_under(self, paths: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return, by node and one more, how many of ``paths`` lie under it, at least 1."""
        counts = np.bincount(self.above_node, weights=paths[self.above_path], minlength=self.num_nodes + 1)
        return np.maximum(counts, 1).astype(np.float32)

    def _mark_absent(self, index: Index, ends: NDArray[np.int64]) -> None:
        parents = index.parent_node
        for row, missing, lacking in zip(self.matrix, self.missing, index.lacks, strict=True):
            gone = unpack(lacking, len(parents))
            top = np.full(len(parents) + 1, len(parents), dtype=np.int32)
            top[:-1][gone.astype(bool)] = np.flatnonzero(gone)
            for node in self.deep:
                if top[parents[node]] < len(parents):
                    top[node] = top[parents[node]]
            missing[:] = top[ends]
            row[self.absent] = missing < len(parents)


def _shared(keyed: Sequence[Mapping[Fact, Any]], support: int, identity: Callable[[Path], bool]) -> dict[Fact, Any]:
    """Return the facts that enough documents hold, with their values, in order of appearance."""
    holders: dict[Fact, int] = {}
    values: dict[Fact, Any] = {}
    for found in keyed:
        for fact, value in found.items():
            holders[fact] = holders.get(fact, 0) + 1
            values.setdefault(fact, value)
    usable = {path: _plain(path) and not identity(path) for path, _ in holders}
    return {fact: values[fact] for fact, number in holders.items() if number >= support and usable[fact[0]]}


def _plain(path: Path) -> bool:
    """Keys such as 1, 1.0 and true are equal to a dict, so only text is taken out of a document."""
    return all(type(name) is str for name in path)


def members(bits: int) -> list[int]:
    """Return the positions of the bits that are set, lowest first."""
    if bits.bit_count() > MANY:
        length = bits.bit_length()
        found: list[int] = np.flatnonzero(unpack(bits, length)).tolist()
        return found
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found


def transposed(rows: Sequence[int], length: int) -> dict[int, int]:
    """Return, by position, the rows that have that bit, as a bitset; positions that no row has are left out."""
    width = (length + 7) // 8
    if not rows or not width:
        return {}
    raw = np.frombuffer(b"".join(row.to_bytes(width, "little") for row in rows), dtype=np.uint8)
    flags = np.unpackbits(raw.reshape(len(rows), width), axis=1, bitorder="little")
    packed = np.packbits(flags.T, axis=1, bitorder="little")
    found = np.flatnonzero(packed.any(axis=1)).tolist()
    return {position: int.from_bytes(packed[position].tobytes(), "little") for position in found}


def unpack(bits: int, length: int) -> NDArray[np.uint8]:
    """Return ``bits`` as an array of 0 and 1."""
    raw = np.frombuffer(bits.to_bytes((length + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, count=length, bitorder="little")


def pack(flags: NDArray[Any]) -> int:
    """Return the positions where ``flags`` is true as a bitset."""
    return int.from_bytes(np.packbits(flags.astype(bool), bitorder="little").tobytes(), "little")
