"""The best values of all templates for a given structure.

Each path is settled by itself with parsimony (Sankoff 1975, Minimal mutation trees of sequences): a child that differs
from its base costs one. Arrays run over the entries of `search_index.Layout`, so all paths are settled at once. A child
with several bases takes each path from the first that sets it, as things are; the others pay when they disagree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from migrate.configs.search_index import Content, members, pack, unpack
from migrate.configs.search_state import Bases, Limits, State

Row = NDArray[np.float32]
Flags = NDArray[np.bool_]

# Makes absence win where it costs the same: a template then says only what pays.
TIE = 1 / 64
NEVER = 1e6


class Values:
    """One pass over a state: up to add costs, down to choose."""

    def __init__(self, state: State, limits: Limits) -> None:
        self.state = state
        self.limits = limits
        self.layout = state.index.layout
        self.num_entries = len(self.layout.path)
        self.taken: dict[int, Row] = {number: np.zeros(self.num_entries, np.float32) for number in state.content}
        self.held: dict[int, Row] = {number: np.zeros(self.num_entries, np.float32) for number in state.content}
        self.served = dict.fromkeys(state.content, 0)
        self.edges: dict[int, tuple[Row, Row, Row]] = {}
        self.inner = state.index.inner
        self.usual: dict[int, Flags] = {}
        self.present: dict[int, NDArray[np.int64]] = {}

    def settle(self) -> None:
        """Replace the content of every template that is not fixed."""
        self._documents()
        order = self.state.order()
        for number in reversed(order):
            self._up(number)
        chosen: dict[int, NDArray[np.int64]] = {}
        for number in order:
            chosen[number] = self._down(number, chosen)

    def _documents(self) -> None:
        groups = {bases: rows for bases, rows in self.state.groups().items() if bases}
        served = self.state.served()
        self.below = served
        self.served = {number: bits.bit_count() for number, bits in served.items()}
        for bases, rows in groups.items():
            counts = self.layout.matrix[rows].sum(axis=0, dtype=np.float32)
            self._attach(bases, len(rows) - counts - self._spared(bases, rows), counts, len(rows))

    def _spared(self, bases: Bases, rows: list[int]) -> Row:
        """Return what the cost of deletions is less than one for each leaf: one deletion takes all under a key."""
        layout, state = self.layout, self.state
        common = np.zeros(state.index.num_paths, bool)
        for base in bases:
            common |= self.entries_of(base) != layout.absent
            common |= self.popular(base)
        missing = layout.missing[rows]
        spared = (1 - 1 / layout.num_under(common))[missing]
        spared[missing == layout.num_nodes] = 0
        found = spared.sum(axis=0)[layout.path]
        found[layout.absent] = 0
        return np.asarray(found, dtype=np.float32)

    def popular(self, number: int) -> Flags:
        """Return the paths that half of the documents below a template set."""
        if number not in self.usual:
            rows = members(self.below[number])
            lacking = self.layout.matrix[rows][:, self.layout.absent].sum(axis=0)
            self.usual[number] = np.asarray(2 * lacking <= len(rows))
        return self.usual[number]

    def _attach(self, bases: Bases, cost: Row, counts: Row, most: float) -> None:
        """Add what a child costs under each entry to its bases; ``most`` is what it costs when they disagree."""
        for base in bases:
            self.held[base] += counts
        if len(bases) == 1:
            self.taken[bases[0]] += cost
        else:
            self._share_out(bases, cost, np.float32(most))

    def _share_out(self, bases: Bases, cost: Row, most: np.float32) -> None:
        """Give the first base that sets a path its cost, and the others the harm of disagreeing with that one."""
        layout = self.layout
        entries = [self.entries_of(base) for base in bases]
        owner = np.zeros(self.state.index.num_paths, np.int64)
        value = layout.absent.copy()
        clash = np.zeros(self.state.index.num_paths, bool)
        for position, chosen in enumerate(entries):
            sets = chosen != layout.absent
            first = sets & (value == layout.absent)
            clash |= sets & ~first & (chosen != value)
            owner[first], value[first] = position, chosen[first]
        unset = value == layout.absent
        harm = np.where(unset, np.float32(NEVER), most - cost[value])[layout.path]
        harm[value], harm[layout.absent] = 0, 0
        harm[clash[layout.path]] = 0
        several = sum(chosen != layout.absent for chosen in entries) > 1
        own = np.where((several & ~clash)[layout.path], most, cost)
        own[value], own[layout.absent] = cost[value], cost[layout.absent]
        for position, base in enumerate(bases):
            self.taken[base] += np.where((owner == position)[layout.path], own, harm)

    def entries_of(self, number: int) -> NDArray[np.int64]:
        """Return the entry of each path under the present content of a template."""
        if number not in self.present:
            self.present[number] = self._entries(self.state.content[number])
        return self.present[number]

    def _up(self, number: int) -> None:
        cost = self.taken[number]
        layout = self.layout
        if number in self.state.fixed:
            best = np.full(self.num_entries, NEVER, np.float32)
            best[self._entries(self.state.content[number])] = 0
        else:
            needed = max(self.limits.support, self.limits.share * self.served[number])
            allowed = self.held[number] >= needed
            allowed[layout.absent] = True
            best = np.where(allowed, cost + np.float32(TIE), np.float32(NEVER) + cost)
            best[layout.absent] -= np.float32(TIE)
        least = np.minimum.reduceat(best, layout.starts)
        self.edges[number] = (cost, best, least)
        parents = self.state.parents[number]
        if parents:
            switched = np.minimum(cost, least[layout.path] + 1)
            self._attach(parents, switched, self.held[number], 1)

    def _entries(self, content: Content) -> NDArray[np.int64]:
        """Return the entry of each path under ``content``."""
        layout = self.layout
        entries = layout.absent.copy()
        facts = np.flatnonzero(unpack(content.facts, len(self.state.index.facts)))
        entries[layout.path[layout.entry[facts]]] = layout.entry[facts]
        return entries

    def _down(self, number: int, chosen: dict[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        """Choose the entry of each path, given those of the parents."""
        state, layout = self.state, self.layout
        if number in state.fixed:
            return self._entries(state.content[number])
        cost, best, least = self.edges[number]
        inherited = layout.absent.copy()
        for parent in state.parents[number]:
            entries = chosen[parent]
            inherited = np.where(entries != layout.absent, entries, inherited)
        switch = cost[inherited] > least + 1
        entries = np.where(switch, self._argmin(best, least), inherited)
        flags = np.zeros(self.num_entries, bool)
        flags[entries] = True
        content = state.index.content(pack(flags[layout.entry]))
        if not content.ends & self.inner:
            state.content[number] = content
            return np.asarray(entries)
        state.content[number] = content = self._consistent(number, content)
        return self._entries(content)

    def _consistent(self, number: int, content: Content) -> Content:
        """Where a leaf was chosen and leaves under it too, keep those that more documents hold."""
        index, held = self.state.index, self.held[number]
        facts = members(content.facts)
        dropped = 0
        for leaf in facts:
            if not index.end[leaf] & self.inner:
                continue
            under = [fact for fact in facts if fact != leaf and index.above[fact] & index.end[leaf]]
            if under:
                entries = self.layout.entry
                heavier = max(held[entries[fact]] for fact in under) > held[entries[leaf]]
                dropped |= 1 << leaf if heavier else sum(1 << fact for fact in under)
        return index.content(content.facts & ~dropped)

    def _argmin(self, best: Row, least: Row) -> NDArray[np.int64]:
        """Return the first entry of each path that has its least cost."""
        layout = self.layout
        at = np.where(best <= least[layout.path], np.arange(self.num_entries), self.num_entries)
        return np.asarray(np.minimum.reduceat(at, layout.starts), dtype=np.int64)


def settle(state: State, limits: Limits) -> None:
    """Give every template that is not fixed the values with which the state costs least, in place."""
    if state.content and state.index.num_paths:
        Values(state, limits).settle()
