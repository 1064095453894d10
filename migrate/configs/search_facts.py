"""Facts by path, and the documents that hold each or would have to delete it."""

from __future__ import annotations

from migrate.configs.search_index import Index, members, transposed

# In place of a fact: nothing is set; bases disagree.
NONE = -1
CLASH = -2


class Facts:
    """The index turned round, for changes of one value.

    Attributes:
        paths: Paths on which templates can be changed one by one: no other path lies above or under them.
        of_path: Facts by path.
        path_of: Path by fact.
        end: Node of each path, as a bitset.
        holders: Documents by fact.
        having: Documents by path that hold one of its facts.
        gaps: By path, nodes with the documents that must delete that node when a base sets the path.
        under: By node, the ends under it, its own included.
        usable: The same as a set.
        held: By document, its fact by path, on usable paths only.
    """

    def __init__(self, index: Index) -> None:
        number = index.num_paths
        self.path_of: list[int] = index.path_of.tolist()
        self.of_path: list[list[int]] = [[] for _ in range(number)]
        for fact, path in enumerate(self.path_of):
            self.of_path[path].append(fact)
        self.end = [index.end[facts[0]] for facts in self.of_path]
        found = transposed(index.held, len(self.path_of))
        self.holders = [found.get(fact, 0) for fact in range(len(self.path_of))]
        self.having = [0] * number
        for fact, path in enumerate(self.path_of):
            self.having[path] |= self.holders[fact]
        self.under = [0] * (len(index.parent_node) + 1)
        ends = 0
        for end in self.end:
            ends |= end
            for node in index.way_to(end.bit_length() - 1):
                self.under[node] |= end
        self.gaps = [self._gaps(index, end) for end in self.end]
        self.paths = [
            path for path, end in enumerate(self.end) if index.above[self.of_path[path][0]] & ends == end & ~index.inner
        ]
        self.usable = set(self.paths)
        self.held = [
            {path: fact for path, fact in self.values(facts).items() if path in self.usable} for facts in index.held
        ]

    def _gaps(self, index: Index, end: int) -> list[tuple[int, int]]:
        """Return the nodes on the way to an end, with the documents of which each is the first that they lack."""
        way = index.way_to(end.bit_length() - 1)[::-1]
        found = []
        settled = 0
        for node in way:
            lacking = 0
            for document, lacks in enumerate(index.lacks):
                lacking |= (lacks >> node & 1) << document
            lacking &= ~settled
            settled |= lacking
            if lacking:
                found.append((node, lacking))
        return found

    def values(self, facts: int) -> dict[int, int]:
        """Return the fact by path of a template."""
        return {self.path_of[fact]: fact for fact in members(facts)}
