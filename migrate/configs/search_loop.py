"""Improve a plan until no change of its structure makes it cheaper."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.configs import search_grow as grow
from migrate.configs.search_assign import reassign
from migrate.configs.search_grow import Proposal
from migrate.configs.search_state import Budgeted, Limits, State
from migrate.configs.search_values import settle

NUM_SETTLES = 4
NUM_TRIALS = 6
# What any state takes, in units of `Search.work`.
FLOOR = 500
# Pairs of templates that are tried as parent and child in a row.
NUM_ADOPTIONS = 12
# Leaves that a removed template may cost before its children find other bases.
MAX_LOSS = 25


def polish(state: State, limits: Limits, num_bases: int) -> State:
    """Settle values and bases in turns until neither makes ``state`` cheaper; returns the cheapest state seen."""
    current = state.copy()
    settle(current, limits)
    tidy(current, limits)
    best, least = current.copy(), current.cost(limits.weight)
    for _ in range(NUM_SETTLES):
        if not reassign(current, num_bases):
            break
        settle(current, limits)
        tidy(current, limits)
        cost = current.cost(limits.weight)
        if cost >= least:
            break
        best, least = current.copy(), cost
    return best


def tidy(state: State, limits: Limits) -> None:
    """Take out templates that are empty, serve too few or add nothing to their parent, in place."""
    while True:
        served = state.served()
        users = dict.fromkeys(state.content, 0)
        for bases in [*state.bases, *state.parents.values()]:
            for base in bases:
                users[base] += 1
        useless = next((number for number in state.content if _useless(state, number, served, users, limits)), None)
        if useless is None:
            return
        remove(state, useless)


def _useless(state: State, number: int, served: dict[int, int], users: dict[int, int], limits: Limits) -> bool:
    if number in state.fixed:
        return False
    content, parents = state.content[number], state.parents[number]
    same = len(parents) == 1 and state.content[parents[0]].facts == content.facts
    return users[number] < 2 or not content.facts or same or served[number].bit_count() < limits.support


def remove(state: State, number: int) -> None:
    """Take a template out; its children extend its parents, in place."""
    parents = state.parents[number]
    for child, bases in state.parents.items():
        if number in bases:
            state.parents[child] = state.lean(set(bases) - {number} | set(parents))
    for document, bases in enumerate(state.bases):
        if number in bases:
            state.bases[document] = state.lean(set(bases) - {number} | set(parents))
    del state.content[number], state.parents[number]


class Search(Budgeted):
    """Hill climbing with moves that add, remove and move templates.

    Attributes:
        work: Documents times templates of all states tried so far: a clock that runs the same on every machine.
        end: Value of `work` at which no further change is tried.
    """

    def polish(self, state: State) -> State:
        """Return ``state`` with the best values and bases for its structure."""
        self.work += FLOOR + len(state.bases) * (len(state.content) + 5)
        return polish(state, self.limits, self.num_bases)

    def climb(self, state: State, num_rounds: int = 3) -> State:
        """Return the cheapest state that was found from ``state``."""
        state = self.fitting(self.polish(state))
        for _ in range(num_rounds):
            before = self.score(state)
            state = self.prune(self.adopt(self.grow(state)))
            if self.score(state) >= before:
                break
        return state

    def fitting(self, state: State) -> State:
        """Take out the cheapest templates until there are no more than allowed."""
        while state.num_free() > self.limits.templates:
            trials = []
            for number in sorted(set(state.content) - state.fixed):
                trial = state.copy()
                remove(trial, number)
                settle(trial, self.limits)
                self.work += len(state.bases)
                trials.append((trial.cost(self.limits.weight), number, trial))
            excess = state.num_free() - self.limits.templates
            trials.sort(key=lambda item: item[:2])
            for _, number, _ in trials[: (excess + 1) // 2]:
                state = state.copy()
                remove(state, number)
            state = self.polish(state)
        return state

    def grow(self, state: State, num_rounds: int = 200, inside: bool = True) -> State:
        """Add templates while that pays, many at a time while that works.

        Args:
            state: Where to start.
            num_rounds: Most times that templates are added.
            inside: Whether templates may come between others and their children; else only beside them.
        """
        batch = True
        for _ in range(num_rounds):
            if self.work > self.end:
                break
            proposals = self._proposals(state, inside)
            room = self.limits.templates - state.num_free()
            better = self._batch(state, grow.apart(proposals)[: max(room, 1)]) if batch else None
            if better is None:
                batch = False
                better = next(self._tried(state, proposals[:NUM_TRIALS]), None)
            if better is None:
                return state
            state = better
        return state

    def _proposals(self, state: State, inside: bool) -> list[Proposal]:
        served = state.served()
        proposals = grow.below(state, self.limits, served) if inside else []
        if self.num_bases > 1:
            proposals += grow.beside(state, self.limits, served if inside else {}) + grow.combined(state, self.limits)
        proposals = [proposal for proposal in proposals if proposal.gain > self.price]
        return sorted(proposals, key=lambda proposal: -proposal.gain)

    def _batch(self, state: State, proposals: list[Proposal]) -> State | None:
        if len(proposals) < 2:
            return None
        trial = state.copy()
        for proposal in proposals:
            grow.apply(trial, proposal)
        if max(trial.levels().values()) > self.limits.depth:
            return None
        trial = self.polish(trial)
        return trial if self.score(trial) < self.score(state) else None

    def _tried(self, state: State, proposals: list[Proposal]) -> Iterator[State]:
        score = self.score(state)
        for proposal in proposals:
            trial = state.copy()
            grow.apply(trial, proposal)
            if max(trial.levels().values()) > self.limits.depth:
                continue
            trial = self.polish(trial)
            if self.score(trial) < score:
                yield trial

    def adopt(self, state: State) -> State:
        """Let templates extend what most of their documents name beside them, so that those name one less."""
        failed: set[tuple[int, int]] = set()
        while self.num_bases > 1 and self.work <= self.end:
            pairs = [pair for pair in self._together(state) if pair not in failed][:NUM_ADOPTIONS]
            if not pairs:
                break
            for child, parent in pairs:
                trial = self._adopted(state, child, parent)
                if trial is not None and self.score(trial) < self.score(state):
                    state = trial
                    break
                failed.add((child, parent))
        return state

    def _together(self, state: State) -> list[tuple[int, int]]:
        """Return pairs of templates that documents name together, those with most documents first."""
        together: dict[tuple[int, int], int] = {}
        named = dict.fromkeys(state.content, 0)
        for bases in state.bases:
            for child in bases:
                named[child] += 1
                for parent in bases:
                    if parent != child:
                        together[child, parent] = together.get((child, parent), 0) + 1
        usual = [pair for pair, number in together.items() if number > 2 and 2 * number >= named[pair[0]]]
        return sorted(usual, key=lambda pair: (-together[pair], pair))

    def _adopted(self, state: State, child: int, parent: int) -> State | None:
        if child in state.fixed or child in state.ancestors(parent):
            return None
        trial = state.copy()
        trial.parents[child] = trial.lean({*state.parents[child], parent})
        if max(trial.levels().values()) > self.limits.depth:
            return None
        own = state.content[child]
        base = state.joined(trial.parents[child])
        trial.content[child] = state.index.content(base.facts & ~own.rivals | own.facts)
        trial.bases = [trial.lean(set(bases)) if child in bases else bases for bases in state.bases]
        return self.polish(trial)

    def prune(self, state: State) -> State:
        """Remove templates while that pays."""
        score = self.score(state)
        improved = True
        while improved:
            improved = False
            for number in self._cheap(state, score):
                if number not in state.content or self.work > self.end:
                    continue
                trial = state.copy()
                remove(trial, number)
                trial = self.polish(trial)
                if self.score(trial) < score:
                    state, score, improved = trial, self.score(trial), True
        return state

    def _cheap(self, state: State, score: float) -> list[int]:
        """Return the templates whose removal costs little before anything else adapts, cheapest first."""
        found = []
        for number in sorted(set(state.content) - state.fixed):
            trial = state.copy()
            remove(trial, number)
            loss = self.score(trial) - score
            if loss < MAX_LOSS:
                found.append((loss, number))
        self.work += len(state.bases) * (len(found) // 4 + 1)
        return [number for _, number in sorted(found)]
