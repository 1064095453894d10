"""Small changes of a plan: one base of a document, one parent of a template.

Each is judged after the values around it have followed (`search_tune`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrate.configs.search_facts import NONE, Facts
from migrate.configs.search_state import EMPTY, Bases, Limits, State, saved
from migrate.configs.search_tune import Tuner

# Rounds over all values, and over all bases, in one go.
NUM_ROUNDS = 12
# Leaves that a change may cost before the values around it follow.
SLACK = 2


class Local(Tuner):
    """Changes values, bases and parents of a state in place; the cost only falls."""

    def __init__(self, state: State, facts: Facts, limits: Limits, num_bases: int) -> None:
        super().__init__(state, facts, limits)
        self.num_bases = num_bases

    def run(self, end: int) -> None:
        """Make changes until none helps, or `work` has passed ``end``."""
        self.tune({number: set(range(self.index.num_paths)) for number in self.state.content})
        for _ in range(NUM_ROUNDS):
            changed = self.move(range(len(self.state.bases)))
            changed += sum(self._move_template(number) for number in self.state.order() if self.work < end)
            if not changed or self.work >= end:
                break
        self.sync()

    def move(self, documents: Iterable[int]) -> int:
        """Give each document other bases where that pays; return how many changed."""
        return sum(self._move_document(document) for document in documents)

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
        return bool(ranked) and self._rebase(document, old, ranked[0][1], -self.limits.weight * ranked[0][0])

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

    def _rebase(self, document: int, old: Bases, bases: Bases, gain: float) -> bool:
        """Give a document other bases where that pays once the values have followed."""
        state = self.state
        touched = self._line(old) ^ self._line(bases)
        bit = 1 << document
        self._name(document, old)
        self._name(document, bases)
        state.bases[document] = bases
        for number in touched:
            self.below[number] ^= bit
        self.undo = []
        gain += self.tune({number: self._open(document, number) for number in touched | {*old, *bases}})
        if gain > 0 and all(self.below[number].bit_count() >= self.limits.support for number in self._line(bases)):
            return True
        self.revert()
        self._name(document, bases)
        self._name(document, old)
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

    def _reparent(self, number: int, old: Bases, parents: Bases, gain: float) -> bool:
        """Let a template extend others where that pays once the values have followed."""
        state, below = self.state, dict(self.below)
        groups = [bases for bases in set(state.bases) if len(bases) > 1 and number in self._line(bases)]
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
        self.revert()
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
