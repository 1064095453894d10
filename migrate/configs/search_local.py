"""Small changes of a plan: one value of a template, one base of a document, one parent of a template.

The values of a template with several children that have other bases too cannot be settled path by path from the leaves
up, as `search_values` does for a tree. Here each value is tried against what its neighbours hold, which is exact for
any structure, and a change of structure is judged after the values around it have followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.configs.search_facts import CLASH, NONE, Facts
from migrate.configs.search_index import Content
from migrate.configs.search_state import EMPTY, Bases, Limits, State, saved

# Rounds over all values, and over all bases, in one go.
NUM_ROUNDS = 12
# Leaves that a change may cost before the values around it follow.
SLACK = 2


class Local:
    """Changes a state in place; the cost only falls.

    Attributes:
        values: By template, the fact by path.
        users: By template, the bases of documents that name it.
        groups: By bases, the documents that have them, as a bitset.
        kids: By template, those that extend it.
        below: By template, the documents that extend it, directly or not.
        work: Costs looked up so far, a clock that runs the same on every machine.
    """

    def __init__(self, state: State, facts: Facts, limits: Limits, num_bases: int) -> None:
        self.state = state
        self.index = state.index
        self.facts = facts
        self.limits = limits
        self.num_bases = num_bases
        self.work = 0
        self.values = {number: facts.values(content.facts) for number, content in state.content.items()}
        self.ends = {number: content.ends for number, content in state.content.items()}
        self.undo: list[tuple[int, int, int]] = []
        self.stale: set[int] = set()
        self.groups: dict[Bases, int] = {}
        self.users: dict[int, set[Bases]] = {number: set() for number in state.content}
        for document, bases in enumerate(state.bases):
            self._join_group(document, bases)
        self.kids: dict[int, set[int]] = {number: set() for number in state.content}
        for number, parents in state.parents.items():
            for parent in parents:
                self.kids[parent].add(number)
        self.below = state.served()

    def run(self, end: int) -> None:
        """Make changes until none helps, or `work` has passed ``end``."""
        self.tune({number: set(self.facts.paths) for number in self.state.content})
        for _ in range(NUM_ROUNDS):
            changed = self.move(range(len(self.state.bases)))
            changed += sum(self._move_template(number) for number in self.state.order() if self.work < end)
            if not changed or self.work >= end:
                break
        self.sync()

    def move(self, documents: Iterable[int]) -> int:
        """Give each document other bases where that pays; return how many changed."""
        return sum(self._move_document(document) for document in documents)

    def sync(self) -> None:
        """Bring the content of the state up to date."""
        for number in sorted(self.stale):
            self.content(number)

    def _join_group(self, document: int, bases: Bases) -> None:
        self.groups[bases] = self.groups.get(bases, 0) | 1 << document
        for base in bases:
            self.users[base].add(bases)

    def _leave_group(self, document: int, bases: Bases) -> None:
        self.groups[bases] &= ~(1 << document)
        if not self.groups[bases]:
            del self.groups[bases]
            for base in bases:
                self.users[base].discard(bases)

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

    def _group_cost(self, bases: Bases, path: int) -> int:
        """Return the leaves at a path that documents with these bases write."""
        facts, documents = self.facts, self.groups[bases]
        held = facts.having[path] & documents
        fact = self.inherited(bases, path)
        if fact == NONE:
            return held.bit_count()
        cost = (held & ~facts.holders[fact]).bit_count() if fact != CLASH else held.bit_count()
        for node, lacking in facts.gaps[path]:
            number = (lacking & documents).bit_count()
            if number and not self._others(bases, node, facts.end[path]):
                cost += number
        return cost

    def _others(self, bases: Bases, node: int, end: int) -> int:
        """Return what else under a node is inherited, which one deletion takes along."""
        under = self.facts.under[node]
        found = 0
        for base in bases:
            found |= self.ends[base]
        return found & under & ~end

    def _own_cost(self, number: int, path: int) -> int:
        """Return what a template writes at a path: 0 or 1."""
        if number in self.state.fixed:
            return 0
        own = self.values[number].get(path, NONE)
        return int(self.inherited(self.state.parents[number], path) != own)

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
        end = self.facts.end[path]
        for number in numbers:
            self.stale.add(number)
            if fact == NONE:
                self.values[number].pop(path, None)
                self.ends[number] &= ~end
            else:
                self.values[number][path] = fact
                self.ends[number] |= end

    def _followers(self, number: int, path: int, fact: int) -> list[int]:
        """Return a template and those under it that have the same fact because it has."""
        found = [number]
        for follower in found:
            for kid in self.kids[follower]:
                if self.values[kid].get(path, NONE) == fact and kid not in found and kid not in self.state.fixed:
                    found.append(kid)
        return found

    def tune(self, dirty: dict[int, set[int]]) -> int:
        """Set the best value for each of these paths of templates, and of those that this touches; return the gain."""
        total = 0
        while dirty:
            number, paths = dirty.popitem()
            if number in self.state.fixed:
                continue
            for path in sorted(paths & self.facts.usable):
                gain, changed = self._tune_one(number, path)
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

    def _tune_one(self, number: int, path: int) -> tuple[int, list[int]]:
        """Set the value with which a template and all around it write least; return the gain and what changed."""
        facts, below = self.facts, self.below[number]
        old = self.values[number].get(path, NONE)
        best: tuple[int, list[int], int] | None = None
        forced = not self._allowed(number, path, old)
        wanted = [
            fact
            for fact in (NONE, *facts.of_path[path])
            if fact != old and (fact == NONE or facts.holders[fact] & below) and self._allowed(number, path, fact)
        ]
        ways = [[number]] if wanted else []
        followers = self._followers(number, path, old) if wanted and self.kids[number] else []
        if len(followers) > 1:
            ways.append(followers)
        for numbers in ways:
            around = self._around(numbers)
            before = self._cost_at(around, path)
            for fact in wanted:
                gain = self._try(numbers, path, fact, old, around, before)
                if gain is not None and (best is None or gain > best[0]):
                    best = gain, numbers, fact
        if best is None or not (forced or best[0] > 0 or (best[0] == 0 and best[2] == NONE)):
            return 0, []
        gain, numbers, fact = best
        self.undo += [(other, path, old) for other in numbers]
        self._set(numbers, path, fact)
        return gain, numbers

    def _around(self, numbers: list[int]) -> tuple[set[int], list[Bases]]:
        """Return the templates and the groups of documents that write more or less when these templates change."""
        touched = set(numbers)
        groups: set[Bases] = set()
        for number in numbers:
            touched |= self.kids[number]
            groups |= self.users[number]
        return touched, list(groups)

    def _cost_at(self, around: tuple[set[int], list[Bases]], path: int) -> int:
        touched, groups = around
        cost = sum([self._group_cost(bases, path) for bases in groups])
        return cost + sum([self._own_cost(number, path) for number in touched])

    def _try(
        self,
        numbers: list[int],
        path: int,
        fact: int,
        old: int,
        around: tuple[set[int], list[Bases]],
        before: int,
    ) -> int | None:
        """Return what a change of value gains, or None when it is not allowed; changes nothing."""
        self.work += 2 + len(around[0]) + len(around[1])
        self._set(numbers, path, fact)
        allowed = all(self._allowed(number, path, self.values[number].get(path, NONE)) for number in around[0])
        gain = before - self._cost_at(around, path) if allowed else None
        self._set(numbers, path, old)
        return gain

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

    def _ways(self, bases: Bases, others: Iterable[int], most: int) -> Iterator[Bases]:
        """Yield bases with one less, one more, or one other."""
        for base in bases:
            yield tuple(other for other in bases if other != base)
        for other in others:
            if other in bases:
                continue
            if len(bases) < most:
                yield tuple(sorted((*bases, other)))
            for base in bases:
                yield tuple(sorted(other if one == base else one for one in bases))

    def _move_document(self, document: int) -> bool:
        """Add, drop or exchange one base of a document where that pays."""
        state, index = self.state, self.index
        old = state.bases[document]
        held, lacks = index.held[document], index.lacks[document]
        self.sync()
        contents = state.content
        rest = {base: held & ~state.joined(tuple(o for o in old if o != base)).facts for base in old}
        rest[NONE] = held & ~state.joined(old).facts
        useful = [
            number
            for number, content in contents.items()
            if any((content.facts & missing).bit_count() > 1 for missing in rest.values())
        ]
        self.work += len(contents) + 2 * len(useful)
        now = saved(index, document, state.joined(old)) - len(old) if old else 0
        ranked = []
        for bases in self._ways(old, useful, self.num_bases):
            joined = state.joined(bases) if bases else EMPTY
            gain = (held & joined.facts).bit_count() - (lacks & joined.nodes).bit_count() - len(bases) - now
            if gain > -SLACK and self._clear(bases):
                ranked.append((-gain, bases))
        ranked.sort()
        return bool(ranked) and self._rebase(document, old, ranked[0][1], -ranked[0][0])

    def _clear(self, bases: Bases) -> bool:
        """Say whether no base extends another, and none has a leaf where another has a mapping."""
        if len(bases) < 2:
            return True
        for base in bases:
            above = self.state.ancestors(base)
            for other in bases:
                if other != base and (other in above or self.content(base).breaks(self.content(other))):
                    return False
        return True

    def _line(self, bases: Iterable[int]) -> set[int]:
        """Return templates with all that they extend."""
        found = set(bases)
        for base in bases:
            found |= self.state.ancestors(base)
        return found

    def _rebase(self, document: int, old: Bases, bases: Bases, gain: int) -> bool:
        """Give a document other bases where that pays once the values have followed."""
        state = self.state
        touched = self._line(old) ^ self._line(bases)
        bit = 1 << document
        self._leave_group(document, old)
        self._join_group(document, bases)
        state.bases[document] = bases
        for number in touched:
            self.below[number] ^= bit
        self.undo = []
        gain += self.tune({number: self._open(document, number) for number in touched | {*old, *bases}})
        if gain > 0 and all(self.below[number].bit_count() >= self.limits.support for number in self._line(bases)):
            return True
        self._revert()
        self._leave_group(document, bases)
        self._join_group(document, old)
        state.bases[document] = old
        for number in touched:
            self.below[number] ^= bit
        return False

    def _open(self, document: int, number: int) -> set[int]:
        """Return the paths of a template where it matters whether this document extends it."""
        holds, below = self.facts.held[document], self.below[number] >> document & 1
        values = self.values[number]
        if below:
            return {path for path, fact in holds.items() if values.get(path) != fact} | {
                path for path, fact in values.items() if holds.get(path) != fact
            }
        return {path for path, fact in holds.items() if values.get(path) == fact}

    def _revert(self) -> None:
        """Take back the values set since `undo` was emptied."""
        for number, path, fact in reversed(self.undo):
            self._set((number,), path, fact)
        self.undo = []

    def _move_template(self, number: int) -> bool:
        """Add, drop or exchange one parent of a template where that pays."""
        state = self.state
        if number in state.fixed:
            return False
        old = state.parents[number]
        own = self.content(number)
        now = state.own_cost(own, old)
        levels = state.levels()
        depth = self.limits.depth - self._height(number)
        others = [
            other
            for other in state.content
            if other != number and levels[other] <= depth and number not in state.ancestors(other)
        ]
        ranked = []
        for parents in self._ways(old, others, self.num_bases):
            gain = now - state.own_cost(own, parents)
            if gain > -SLACK and self._clear(parents):
                ranked.append((-gain, parents))
        ranked.sort()
        return bool(ranked) and self._reparent(number, old, ranked[0][1], -ranked[0][0])

    def _height(self, number: int) -> int:
        """Return the most templates from this one down, itself included."""
        return 1 + max((self._height(kid) for kid in self.kids[number]), default=0)

    def _reparent(self, number: int, old: Bases, parents: Bases, gain: int) -> bool:
        """Let a template extend others where that pays once the values have followed."""
        state, below = self.state, dict(self.below)
        groups = [bases for bases in self.groups if number in self._line(bases)]
        self._adopt(number, parents)
        if any(not self._clear(bases) for bases in groups):
            self._adopt(number, old)
            return False
        self.below = state.served()
        touched = {other for other in state.content if self.below[other] != below[other]} | {number, *old, *parents}
        self.undo = []
        own = set(self.values[number])
        free = {number, *parents}
        gain += self.tune({other: own if other in free else own & set(self.values[other]) for other in touched})
        if gain > 0 and all(self.below[other].bit_count() >= self.limits.support for other in touched):
            return True
        self._revert()
        self._adopt(number, old)
        self.below = below
        return False

    def _adopt(self, number: int, parents: Bases) -> None:
        """Let a template extend others."""
        for parent in self.state.parents[number]:
            self.kids[parent].discard(number)
        for parent in parents:
            self.kids[parent].add(number)
        self.state.parents[number] = parents
