"""The values of the templates of a plan, moved one by one to where the plan costs least.

The values of a template with several children that have other bases too cannot be settled path by path from the leaves
up, as `search_values` does for a tree. Here each value is tried against what its neighbours hold, which is exact for
any structure, but where one deletion takes several values of a template or of a cluster along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from migrate.configs.search_facts import CLASH, NONE, Facts
from migrate.configs.search_index import Content
from migrate.configs.search_state import Limits, State

# Units of `Tuner.work` for finding out which documents inherit what at a path.
WORK_SPLIT = 8


class Split(NamedTuple):
    """The documents that name some templates, by what their other bases say at one path.

    Attributes:
        rest: Those whose other bases say nothing.
        others: By fact, those whose other bases say so.
        clash: Those whose other bases disagree.
        lacking: Those that have to delete a key of their own once they inherit something at the path.
    """

    rest: int
    others: list[tuple[int, int]]
    clash: int
    lacking: int


class Tuner:
    """Changes the values of a state in place; the cost only falls.

    Attributes:
        values: By template, the fact by path.
        ends: By template, the nodes at which it has values.
        setters: By path, the templates that have a value there.
        direct: By template, the documents that name it, as a bitset.
        kids: By template, those that extend it.
        below: By template, the documents that extend it, directly or not.
        undo: Values before the changes since it was emptied: template, path, fact.
        stale: Templates whose values differ from their content in the state.
        work: Costs looked up so far, a clock that runs the same on every machine.
    """

    def __init__(self, state: State, facts: Facts, limits: Limits) -> None:
        self.state = state
        self.index = state.index
        self.facts = facts
        self.limits = limits
        self.work = 0
        self.values = {number: facts.values(content.facts) for number, content in state.content.items()}
        self.ends = {number: content.ends for number, content in state.content.items()}
        self.setters: list[set[int]] = [set() for _ in range(state.index.num_paths)]
        for number, values in self.values.items():
            for path in values:
                self.setters[path].add(number)
        self.direct = dict.fromkeys(state.content, 0)
        for document, bases in enumerate(state.bases):
            self._name(document, bases)
        self.kids: dict[int, set[int]] = {number: set() for number in state.content}
        for number, parents in state.parents.items():
            for parent in parents:
                self.kids[parent].add(number)
        self.below = state.served()
        self.undo: list[tuple[int, int, int]] = []
        self.stale: set[int] = set()

    def _name(self, document: int, bases: Iterable[int]) -> None:
        """Let a document name bases, or not name them any more."""
        for base in bases:
            self.direct[base] ^= 1 << document

    def sync(self) -> None:
        """Bring the content of the state up to date."""
        for number in sorted(self.stale):
            self.content(number)

    def content(self, number: int) -> Content:
        """Return the content of a template as it is now."""
        if number in self.stale:
            self.stale.discard(number)
            bits = 0
            for fact in self.values[number].values():
                bits |= 1 << fact
            if self.state.content[number].facts != bits:
                self.state.content[number] = self.index.content(bits)
        return self.state.content[number]

    def inherited(self, bases: Iterable[int], path: int) -> int:
        """Return the fact that bases give at a path."""
        found = NONE
        values = self.values
        for base in bases:
            if path in values[base]:
                fact = values[base][path]
                if found == NONE:
                    found = fact
                elif fact != found:
                    return CLASH
        return found

    def _split(self, numbers: Sequence[int], path: int) -> Split:
        """Group the documents that name one of these templates."""
        documents = 0
        for number in numbers:
            documents |= self.direct[number]
        found: dict[int, int] = {}
        for other in self.setters[path]:
            mine = self.direct[other] & documents
            if mine and other not in numbers:
                fact = self.values[other][path]
                found[fact] = found.get(fact, 0) | mine
        once = clash = 0
        for mine in found.values():
            clash |= once & mine
            once |= mine
        others = [(fact, mine & ~clash) for fact, mine in sorted(found.items())]
        return Split(documents & ~once, others, clash, self._lacking(documents, path))

    def _lacking(self, documents: int, path: int) -> int:
        """Return the documents that must delete a key when they inherit this path: nothing else goes along with it."""
        facts, found = self.facts, 0
        for node, lacking in facts.gaps[path]:
            mine = lacking & documents
            if mine:
                under = facts.under[node] & ~facts.end[path]
                for number, ends in self.ends.items():
                    if ends & under:
                        mine &= ~self.direct[number]
                found |= mine
        return found

    def _cost_of(self, split: Split, path: int, fact: int) -> float:
        """Return the cost of what documents write at a path when the templates they were split by have ``fact``."""
        facts = self.facts
        having, holders = facts.having[path], facts.holders
        cost = (having & split.clash).bit_count()
        if fact == NONE:
            cost += (having & split.rest).bit_count()
            inherit = split.clash
        else:
            cost += (having & split.rest & ~holders[fact]).bit_count()
            inherit = split.clash | split.rest
        for other, mine in split.others:
            inherit |= mine
            cost += (having & mine & ~holders[other] if fact in (NONE, other) else having & mine).bit_count()
        return self.limits.weight * (cost + (split.lacking & inherit).bit_count())

    def _own_cost(self, number: int, path: int) -> int:
        """Return what a template writes at a path: 0 or 1."""
        if number in self.state.fixed:
            return 0
        own = self.values[number].get(path, NONE)
        if self.inherited(self.state.parents[number], path) == own:
            return 0
        # What it has above or under the path takes the place of what it inherits there.
        return int(own != NONE or not self.ends[number] & self.facts.rivals[path])

    def _allowed(self, number: int, path: int, fact: int) -> bool:
        """Say whether a template may have a fact: it is absence, inherited, or a default for enough documents."""
        if fact == NONE or number in self.state.fixed:
            return True
        if any(self.values[parent].get(path, NONE) == fact for parent in self.state.parents[number]):
            return True
        below = self.below[number]
        held = (below & self.facts.holders[fact]).bit_count()
        return held >= max(self.limits.support, self.limits.share * below.bit_count())

    def _set(self, numbers: Iterable[int], path: int, fact: int) -> None:
        """Give templates a fact, or none, at a path."""
        end, setters = self.facts.end[path], self.setters[path]
        for number in numbers:
            self.stale.add(number)
            if fact == NONE:
                self.values[number].pop(path, None)
                self.ends[number] &= ~end
                setters.discard(number)
            else:
                self.values[number][path] = fact
                self.ends[number] |= end
                setters.add(number)

    def revert(self) -> None:
        """Take back the values set since `undo` was emptied."""
        for number, path, fact in reversed(self.undo):
            self._set((number,), path, fact)
        self.undo = []

    def _followers(self, number: int, path: int, fact: int) -> list[int]:
        """Return a template and those under it that have the same fact because it has."""
        found = [number]
        for follower in found:
            for kid in self.kids[follower]:
                if self.values[kid].get(path, NONE) == fact and kid not in found and kid not in self.state.fixed:
                    found.append(kid)
        return found

    def tune(self, dirty: dict[int, set[int]]) -> float:
        """Set the best value for each of these paths of templates, and of those that this touches; return the gain."""
        total = 0.0
        while dirty:
            number, paths = dirty.popitem()
            if number in self.state.fixed:
                continue
            clusters = self.facts.clusters
            for path in sorted({clusters[path][0] if path in clusters else path for path in paths}):
                gain, changed = (self._tune_cluster if path in clusters else self._tune_one)(number, path)
                total += gain
                for other in changed:
                    for near in (*self.kids[other], *self.state.parents[other]):
                        dirty.setdefault(near, set()).add(path)
        return total

    def clear(self, paths: Iterable[int]) -> None:
        """Take out of the templates what they may not have at these paths."""
        for number in self.state.order():
            for path in paths:
                if not self._allowed(number, path, self.values[number].get(path, NONE)):
                    self._set((number,), path, NONE)

    def _tune_one(self, number: int, path: int) -> tuple[float, list[int]]:
        """Set the value with which a template and all around it write least; return the gain and what changed."""
        old = self.values[number].get(path, NONE)
        wanted = self._wanted(number, path, old)
        if not wanted:
            return 0, []
        ways = [[number]]
        followers = self._followers(number, path, old) if self.kids[number] else ways[0]
        if len(followers) > 1:
            ways.append(followers)
        best: tuple[float, list[int], int] | None = None
        for numbers in ways:
            touched = set(numbers)
            for one in numbers:
                touched |= self.kids[one]
            self.work += WORK_SPLIT + (1 + len(touched)) * len(wanted)
            split = self._split(numbers, path)
            before = self._cost_of(split, path, old) + self._own_costs(touched, path)
            for fact in wanted:
                after = self._try(numbers, path, fact, old, touched)
                if after is None:
                    continue
                gain = before - after - self._cost_of(split, path, fact)
                if best is None or gain > best[0]:
                    best = gain, numbers, fact
        if best is None:
            return 0, []
        if (best[0] < 0 or (best[0] == 0 and best[2] != NONE)) and self._allowed(number, path, old):
            return 0, []
        gain, numbers, fact = best
        self.undo += [(other, path, old) for other in numbers]
        self._set(numbers, path, fact)
        return gain, numbers

    def _wanted(self, number: int, path: int, old: int) -> list[int]:
        """Return the other facts that a template may have at a path and some document below it holds."""
        below, holders = self.below[number], self.facts.holders
        needed = max(self.limits.support, self.limits.share * below.bit_count(), 1)
        above = [self.values[parent].get(path, NONE) for parent in self.state.parents[number]]
        wanted = [] if old == NONE else [NONE]
        for fact in self.facts.of_path[path]:
            held = (holders[fact] & below).bit_count()
            if fact != old and held and (held >= needed or fact in above):
                wanted.append(fact)
        return wanted

    def _all_allowed(self, numbers: Iterable[int], path: int) -> bool:
        return all(self._allowed(number, path, self.values[number].get(path, NONE)) for number in numbers)

    def _own_costs(self, numbers: Iterable[int], path: int) -> int:
        return sum([self._own_cost(number, path) for number in numbers])

    def _try(self, numbers: list[int], path: int, fact: int, old: int, touched: set[int]) -> int | None:
        """Return what templates write with another value, or None when it is not allowed; changes nothing."""
        self._set(numbers, path, fact)
        allowed = self._all_allowed(touched, path)
        cost = self._own_costs(touched, path) if allowed else None
        self._set(numbers, path, old)
        return cost

    def _tune_cluster(self, number: int, first: int) -> tuple[float, list[int]]:
        """Do the same for paths of which some lie under others, all at once."""
        cluster, values = self.facts.clusters[first], self.values
        old = tuple(values[number].get(path, NONE) for path in cluster)
        forced = not all(map(self._allowed, [number] * len(cluster), cluster, old))
        wanted = [
            facts
            for facts in self.facts.combinations[first]
            if facts != old and all(map(self._allowed, [number] * len(cluster), cluster, facts))
        ]
        followers = [number]
        for one in followers:
            kids = sorted(self.kids[one] - self.state.fixed - set(followers))
            followers += [kid for kid in kids if tuple(values[kid].get(path, NONE) for path in cluster) == old]
        best: tuple[float, list[int], tuple[int, ...]] | None = None
        for numbers in [[number], followers][: len(followers)]:
            touched = set(numbers).union(*(self.kids[one] for one in numbers))
            before = self._cluster_cost(numbers, touched, cluster)
            for facts in wanted:
                self._set_all(numbers, cluster, facts)
                if self._cluster_allowed(numbers, touched, cluster):
                    gain = before - self._cluster_cost(numbers, touched, cluster)
                    if best is None or gain > best[0]:
                        best = gain, numbers, facts
                self._set_all(numbers, cluster, old)
        if best is None or not (forced or best[0] > 0):
            return 0, []
        gain, numbers, facts = best
        self.undo += [(one, path, fact) for one in numbers for path, fact in zip(cluster, old, strict=True)]
        self._set_all(numbers, cluster, facts)
        return gain, numbers

    def _set_all(self, numbers: Iterable[int], cluster: Sequence[int], facts: Sequence[int]) -> None:
        for path, fact in zip(cluster, facts, strict=True):
            self._set(numbers, path, fact)

    def _cluster_cost(self, numbers: Sequence[int], touched: set[int], cluster: Sequence[int]) -> float:
        """Return what some templates, those that extend them, and their documents write at the paths of a cluster."""
        self.work += len(cluster) * (WORK_SPLIT + len(touched))
        cost = 0.0
        for path in cluster:
            fact = self.values[numbers[0]].get(path, NONE)
            cost += self._cost_of(self._split(numbers, path), path, fact) + self._own_costs(touched, path)
        return cost

    def _cluster_allowed(self, numbers: Sequence[int], touched: set[int], cluster: Sequence[int]) -> bool:
        """Say whether enough documents hold each default, and no two bases have a leaf and a mapping at a key."""
        documents, kids = 0, set[int]()
        for number in numbers:
            documents |= self.direct[number]
            kids |= self.kids[number]
        for path in cluster:
            if path in self.values[numbers[0]]:
                rivals = (rival for rival in cluster if self.facts.end[rival] & self.facts.rivals[path])
                others = set[int]().union(*(self.setters[rival] for rival in rivals)).difference(numbers)
                if any(self.direct[other] & documents or self.kids[other] & kids for other in others):
                    return False
        return all(self._all_allowed(touched, path) for path in cluster)
