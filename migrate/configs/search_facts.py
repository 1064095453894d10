"""Facts by path, and the documents that hold each or would have to delete it."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.configs.search_index import Index, members, transposed

# In place of a fact: nothing is set; bases disagree.
NONE = -1
CLASH = -2


class Facts:
    """The index turned round, for changes of one value.

    Attributes:
        clusters: By path that lies above or under another, all paths that change together with it.
        rivals: By path, the ends above and under it: a template that has one of them can't have the path.
        combinations: By the first path of a cluster, what documents have at its paths.
        of_path: Facts by path.
        path_of: Path by fact.
        end: Node of each path, as a bitset.
        holders: Documents by fact.
        having: Documents by path that hold one of its facts.
        gaps: By path, nodes with the documents that must delete that node when a base sets the path.
        under: By node, the ends under it, its own included.
        held: By document, its fact by path.
    """

    def __init__(self, index: Index) -> None:
        number = index.num_paths
        self.path_of: list[int] = index.path_of.tolist()
        self.of_path: list[list[int]] = [[] for _ in range(number)]
        for fact, path in enumerate(self.path_of):
            self.of_path[path].append(fact)
        self.end: list[int] = [index.end[facts[0]] for facts in self.of_path]
        found = transposed(index.held, len(self.path_of))
        self.holders = [found.get(fact, 0) for fact in range(len(self.path_of))]
        self.having = [0] * number
        for fact, path in enumerate(self.path_of):
            self.having[path] |= self.holders[fact]
        self.under: list[int] = [0] * (len(index.parent_node) + 1)
        self._ends = 0
        for end in self.end:
            self._ends |= end
            for node in index.way_to(end.bit_length() - 1):
                self.under[node] |= end
        self.gaps = [self._gaps(index, end) for end in self.end]
        self.held = [self.values(facts) for facts in index.held]
        self.rivals = [self._rivals(index, path) for path in range(number)]
        self.clusters: dict[int, tuple[int, ...]] = {}
        for path, rivals in enumerate(self.rivals):
            if rivals and path not in self.clusters:
                cluster = self._cluster(path)
                self.clusters |= dict.fromkeys(cluster, cluster)
        self.combinations = {cluster[0]: self._combinations(cluster) for cluster in self.clusters.values()}

    def _rivals(self, index: Index, path: int) -> int:
        end: int = self.end[path]
        above: int = index.above[self.of_path[path][0]]
        if not (end & index.inner or above & ~end & self._ends):
            return 0
        return (above | self.under[end.bit_length() - 1]) & ~end & self._ends

    def _cluster(self, path: int) -> tuple[int, ...]:
        """Return the paths that are linked with one by lying above or under each other."""
        found = [path]
        for one in found:
            found += [other for other, end in enumerate(self.end) if end & self.rivals[one] and other not in found]
        return tuple(sorted(found))

    def _combinations(self, cluster: Sequence[int]) -> list[tuple[int, ...]]:
        """Return what documents have at the paths of a cluster, what two of them have in common, and nothing."""
        whole = dict.fromkeys(tuple(held.get(path, NONE) for path in cluster) for held in self.held)
        common = (
            tuple(fact if fact == other else NONE for fact, other in zip(first, second, strict=True))
            for first in whole
            for second in whole
        )
        return sorted({*whole, *common, (NONE,) * len(cluster)})

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
