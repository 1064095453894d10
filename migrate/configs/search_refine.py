"""The last part of the search: add, drop and exchange templates, with the values around each change following it."""

from __future__ import annotations

import random

from migrate.configs import search_grow as grow
from migrate.configs.search_facts import Facts
from migrate.configs.search_local import Local
from migrate.configs.search_loop import remove, tidy
from migrate.configs.search_state import Limits, State

NUM_TRIALS = 8


class Refine:
    """Hill climbing from a good state.

    Attributes:
        work: Values tried so far, a clock that runs the same on every machine.
        end: Value of `work` at which no further change is tried.
    """

    def __init__(self, facts: Facts, limits: Limits, num_bases: int, price: float, work: int) -> None:
        self.facts = facts
        self.limits = limits
        self.num_bases = num_bases
        self.price = price
        self.work = 0
        self.end = work

    def score(self, state: State) -> float:
        over = max(0, state.num_free() - self.limits.templates)
        return state.cost() + self.price * state.num_free() + 1e6 * over

    def run(self, state: State) -> State:
        state = self.settled(state)
        while self.work < self.end:
            before = self.score(state)
            state = self.settled(self.prune(self.grown(state)))
            if self.score(state) >= before:
                break
        return state

    def settled(self, state: State) -> State:
        local = Local(state.copy(), self.facts, self.limits, self.num_bases)
        local.run(self.end - self.work)
        self.work += local.work
        tidy(local.state, self.limits)
        return local.state if self.score(local.state) <= self.score(state) else state

    def followed(self, state: State, numbers: set[int], paths: set[int], documents: set[int]) -> State:
        """Let values of these templates and bases of these documents follow a change, in place."""
        local = Local(state, self.facts, self.limits, self.num_bases)
        numbers &= set(state.content)
        local.tune({number: set(paths) for number in numbers})
        local.sync()
        local.move(sorted(documents))
        local.sync()
        tidy(state, self.limits)
        self.work += local.work + 50 + len(state.bases)
        return state

    def grown(self, state: State, most: int = 1000) -> State:
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
                if trial is not None and self.score(trial) < score:
                    better = trial
                    break
                failed.add(name)
                tried += 1
                if tried >= NUM_TRIALS:
                    break
            if better is None:
                return state
            state, score = better, self.score(better)
        return state

    def _proposals(self, state: State) -> list[grow.Proposal]:
        served = state.served()
        found = grow.below(state, self.limits, served)
        if self.num_bases > 1:
            found += grow.beside(state, self.limits, served) + grow.combined(state, self.limits)
        return sorted((one for one in found if one.gain > self.price - 3), key=lambda proposal: -proposal.gain)

    def added(self, state: State, proposal: grow.Proposal) -> State | None:
        trial = state.copy()
        number = grow.apply(trial, proposal)
        if max(trial.levels().values()) > self.limits.depth:
            return None
        paths = set(self.facts.values(proposal.facts)) & self.facts.usable
        documents = {child.document for child in proposal.children if child.document >= 0}
        near = {number, *proposal.parents} | {child.template for child in proposal.children if child.template >= 0}
        for document in documents:
            near |= set(trial.bases[document])
        trial = self.followed(trial, near, paths, documents)
        while trial.num_free() > self.limits.templates:
            trial = self.dropped(trial, min(self._losses(trial))[1])
        return trial

    def _losses(self, state: State) -> list[tuple[float, int]]:
        found = []
        before = state.cost()
        for number in sorted(set(state.content) - state.fixed):
            trial = state.copy()
            remove(trial, number)
            found.append((trial.cost() - before, number))
        self.work += len(found) * 10
        return found

    def dropped(self, state: State, number: int) -> State:
        trial = state.copy()
        documents = {document for document, bases in enumerate(state.bases) if number in bases}
        near = {other for other in state.content if number in state.parents[other]} | set(state.parents[number])
        for document in documents:
            near |= set(state.bases[document])
        paths = set(self.facts.values(state.content[number].facts)) & self.facts.usable
        remove(trial, number)
        return self.followed(trial, near, paths, documents)

    def prune(self, state: State) -> State:
        score = self.score(state)
        for loss, number in sorted(self._losses(state)):
            if loss > 12 + self.price or self.work > self.end or number not in state.content:
                continue
            trial = self.dropped(state, number)
            if self.score(trial) < score:
                state, score = trial, self.score(trial)
        return state

    def shake(self, state: State, work: int) -> State:
        generator = random.Random(0)
        best, score = state, self.score(state)
        self.end = self.work + work
        while self.work < self.end and best.num_free():
            trial = best
            for _ in range(generator.randint(1, 3)):
                free = sorted(set(trial.content) - trial.fixed)
                if free:
                    trial = self.dropped(trial, generator.choice(free))
            trial = self.grown(trial, 6)
            if self.score(trial) <= score:
                best, score = trial, self.score(trial)
        return best
