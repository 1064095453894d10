"""The last part of the search: add, drop and exchange templates, with the values around each change following it."""

from __future__ import annotations

import random

from migrate.configs import search_grow as grow
from migrate.configs.search_facts import Facts
from migrate.configs.search_local import Local
from migrate.configs.search_loop import remove, tidy
from migrate.configs.search_state import Budgeted, Limits, State

NUM_TRIALS = 8
# Templates of which the least useful one is found by dropping each.
NUM_DROPS = 4
# Parts torn down in vain before a search gives up.
MAX_IDLE = 40
# Leaves that a removed template may cost before anything else adapts.
MAX_LOSS = 12
# Leaves that a proposal may lose by itself, since what follows it can gain more.
SLACK = 3


class Refine(Budgeted):
    """Hill climbing from a good state.

    Attributes:
        work: Costs looked up so far, a clock that runs the same on every machine.
        end: Value of `work` at which no further change is tried.
    """

    def __init__(self, facts: Facts, limits: Limits, num_bases: int, price: float, work: int) -> None:
        self.facts = facts
        super().__init__(limits, num_bases, price, work)

    def run(self, state: State) -> State:
        """Return the cheapest state that was found from ``state``."""
        state = self.settled(state)
        while self.work < self.end:
            before = self.score(state)
            state = self.settled(self.prune(self.grown(state)))
            if self.score(state) >= before:
                break
        return state

    def settled(self, state: State) -> State:
        """Return ``state`` with all values, bases and parents moved as far as that pays."""
        local = Local(state.copy(), self.facts, self.limits, self.num_bases)
        local.run(self.end - self.work)
        self.work += local.work
        tidy(local.state, self.limits)
        return local.state if self.score(local.state) <= self.score(state) else state

    def mended(self, state: State) -> State:
        """Return ``state`` without defaults that too few documents hold, whatever that costs."""
        local = Local(state.copy(), self.facts, self.limits, self.num_bases)
        local.tune({number: set(range(state.index.num_paths)) for number in state.content})
        local.clear(range(state.index.num_paths))
        local.sync()
        return local.state

    def followed(self, state: State, numbers: set[int], paths: set[int], documents: set[int]) -> State:
        """Let values of these templates and bases of these documents follow a change, in place."""
        local = Local(state, self.facts, self.limits, self.num_bases)
        numbers &= set(state.content)
        local.tune({number: set(paths) for number in numbers})
        local.sync()
        local.move(sorted(documents))
        local.sync()
        tidy(state, self.limits)
        self.work += local.work + 1000 + 5 * len(state.bases)
        return state

    def grown(self, state: State, most: int = 1000) -> State:
        """Add templates while that pays; past the limit each new one takes the place of the least useful."""
        failed: set[tuple[int, tuple[int, ...]]] = set()
        score = self.score(state)
        for _ in range(most):
            better = None
            tried = 0
            for proposal in self._proposals(state):
                name = (proposal.facts, proposal.parents)
                if name in failed or self.work > self.end:
                    continue
                trial = self.added(state, proposal)
                if trial is not None and (found := self.score(trial)) < score:
                    better, score = trial, found
                    break
                failed.add(name)
                tried += 1
                if tried >= NUM_TRIALS:
                    break
            if better is None:
                return state
            state = better
        return state

    def _proposals(self, state: State) -> list[grow.Proposal]:
        """Return new templates that pay or nearly do, best first."""
        served = state.served()
        self.work += 40 * (len(state.bases) + len(state.content))
        found = grow.below(state, self.limits, served)
        if self.num_bases > 1:
            found += grow.beside(state, self.limits, served) + grow.combined(state, self.limits)
        return sorted((one for one in found if one.gain > self.price - SLACK), key=lambda proposal: -proposal.gain)

    def added(self, state: State, proposal: grow.Proposal) -> State | None:
        """Return ``state`` with one more template, or None where that cannot be."""
        trial = state.copy()
        number = grow.apply(trial, proposal)
        if max(trial.levels().values()) > self.limits.depth or not trial.index.sound(trial.content[number]):
            return None
        paths = set(self.facts.values(proposal.facts))
        documents = {child.document for child in proposal.children if child.document >= 0}
        near = {number, *proposal.parents} | {child.template for child in proposal.children if child.template >= 0}
        for document in documents:
            near |= set(trial.bases[document])
        trial = self.followed(trial, near, paths, documents)
        while trial.num_free() > self.limits.templates:
            trial = self.dropped(trial, min(self._losses(trial))[1])
        return trial

    def _losses(self, state: State) -> list[tuple[float, int]]:
        """Return what each template saves while nothing else adapts, with its number."""
        found: list[tuple[float, int]] = []
        before = state.cost(self.limits.weight)
        for number in sorted(set(state.content) - state.fixed):
            trial = state.copy()
            remove(trial, number)
            found.append((trial.cost(self.limits.weight) - before, number))
        self.work += len(found) * len(state.bases) * 2
        return found

    def fitted(self, state: State) -> State:
        """Return ``state`` with no more templates than allowed: one by one, that goes which is missed least."""
        while state.num_free() > self.limits.templates:
            least = sorted(self._losses(state))[:NUM_DROPS]
            state = min((self.dropped(state, number) for _, number in least), key=self.score)
        return state

    def dropped(self, state: State, number: int) -> State:
        """Return ``state`` without a template."""
        trial = state.copy()
        documents = {document for document, bases in enumerate(state.bases) if number in bases}
        near = {other for other in state.content if number in state.parents[other]} | set(state.parents[number])
        for document in documents:
            near |= set(state.bases[document])
        paths = set(self.facts.values(state.content[number].facts))
        remove(trial, number)
        return self.followed(trial, near, paths, documents)

    def prune(self, state: State) -> State:
        """Remove templates while that pays."""
        score = self.score(state)
        for loss, number in sorted(self._losses(state)):
            if loss > MAX_LOSS + self.price or self.work > self.end or number not in state.content:
                continue
            trial = self.dropped(state, number)
            if (found := self.score(trial)) < score:
                state, score = trial, found
        return state

    def shake(self, state: State, work: int) -> State:
        """Drop a few templates and build again, until ``work`` is used up or nothing came of it for long."""
        generator = random.Random(0)
        best, score = state, self.score(state)
        self.end = self.work + work
        idle = 0
        while self.work < self.end and best.num_free() and idle < MAX_IDLE:
            trial = best
            for _ in range(generator.randint(1, 3)):
                free = sorted(set(trial.content) - trial.fixed)
                if free:
                    trial = self.dropped(trial, generator.choice(free))
            trial = self.grown(trial, 6)
            found = self.score(trial)
            idle = 0 if found < score else idle + 1
            if found <= score:
                best, score = trial, found
        return best
