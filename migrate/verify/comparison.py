"""Walks through two traces side by side and holds against each other what belongs together. Loads without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from migrate.verify import channels, views
from migrate.verify.cases import Checkpoints
from migrate.verify.collector import Collector
from migrate.verify.pairing import Pairing
from migrate.verify.reported import Reports
from migrate.verify.stretches import may_train, with_calls_before
from migrate.verify.trace.reader import Checkpoint, Evaluation, Events, Names, Step
from migrate.verify.views import View

T = TypeVar("T", Evaluation, Checkpoint)


@dataclass(slots=True)
class Comparison:
    """Walks through two traces side by side.

    Attributes:
        reference: The run that is right.
        candidate: The run that must have done the same.
        collector: Gets all pairs.
        drawn: Generators that either side draws from.
        checkpoints: Which are compared.
        reports: Who reports which metric, on both sides.
        notes: What was not compared, or in another way.
    """

    reference: View
    candidate: View
    collector: Collector
    drawn: set[str]
    checkpoints: Checkpoints
    reports: tuple[Reports, Reports]
    notes: list[str] = field(default_factory=list)
    _place: dict[int, int] = field(default_factory=dict)
    _not_comparable: set[str] = field(default_factory=set)
    _evaluated: bool = False
    _drawn: dict[int, set[str]] = field(default_factory=dict)
    _calls_before: list[list[dict[str, Any]]] = field(default_factory=lambda: [[], []])
    _calls_apart: str | None = None
    _pairings: tuple[Pairing, Pairing] = field(default_factory=lambda: (Pairing("inputs"), Pairing("outputs")))

    def run(self) -> None:
        """Compare everything, in the order in which it happened."""
        one, other = self.reference.trace, self.candidate.trace
        self._drawn = channels.drawn_at_steps(one, other, self.drawn)
        self._between(0)
        for number, steps in enumerate(zip(one.steps, other.steps, strict=False), 1):
            self._step(number, steps)
            self.collector.end_block()
            self._between(number)
        self._tail(min(len(one.steps), len(other.steps)))
        self.collector.end_block()

    def _step(self, number: int, steps: tuple[Step, Step]) -> None:
        before = self._calls_before
        steps = with_calls_before(steps[0], before[0]), with_calls_before(steps[1], before[1])
        self._names(number, steps)
        self._data(number, steps)
        sides = (self.reference, steps[0]), (self.candidate, steps[1])
        same_step = channels.compare_step(self.collector, number, sides, self._drawn[number])
        if not self._evaluated:
            self._metrics(number, [[step] for step in steps])
        if not same_step:
            return
        first = self.reference.trace.steps[0], self.candidate.trace.steps[0]
        channels.compare_modes(self.collector, number, steps, first, self._alike(steps))
        self._calls(number, steps)

    def _alike(self, steps: tuple[Step, Step]) -> bool:
        """Tell whether both sides are built of the same modules, as far as names and classes tell."""
        tables = [view.trace.names_of(step) for view, step in zip(self._sides, steps, strict=True)]
        classes = [[root["class"].rpartition(".")[2] for root in table.roots] for table in tables]
        names = [[tensor["name"] for tensor in listed(table)] for table in tables]
        return classes[0] == classes[1] and names[0] == names[1]

    @property
    def _sides(self) -> tuple[View, View]:
        return self.reference, self.candidate

    def _names(self, number: int, steps: tuple[Step, Step]) -> None:
        """Compare the tables of names where one side has a new one."""
        before = [view.trace.steps[number - 2].names if number > 1 else None for view in self._sides]
        if all(step.names == name for step, name in zip(steps, before, strict=True)):
            return
        tables = [view.forms(view.trace.names_of(step)) for view, step in zip(self._sides, steps, strict=True)]
        where = 0 if number == 1 else number
        self.collector.compare(where, "names", [{k: views.form(v) for k, v in table.items()} for table in tables])
        if number == 1:
            # Buffers are not those of the start: the first forward pass comes before the first step.
            starts = [
                {key: tensor["digest"] for key, tensor in table.items() if not key.startswith("buffer ")}
                for table in tables
            ]
            shared = starts[0].keys() & starts[1].keys()
            self.collector.compare(
                0, "start", [{key: start[key] for key in start if key in shared} for start in starts]
            )
            self.collector.end_block()

    def _data(self, number: int, steps: tuple[Step, Step]) -> None:
        """Compare what the loaders gave, by position: one side may fetch earlier than the other."""
        streams = [view.loaders() for view in self._sides]
        if len(streams[0]) != len(streams[1]):
            self._note(
                "data", f"loaders in use: {len(streams[0])} and {len(streams[1])}; what the models get is compared"
            )
            return
        for loader, batches in streams[0].items():
            place = self._place.get(loader, 0)
            taken = sum(batch["step"] == steps[0].number for batch in batches[place:])
            self._place[loader] = place + taken
            parts = [part[place : place + taken] for part in (batches, streams[1][loader])]
            if self._another_form(parts, steps):
                self._note("data", "batches of loaders differ in form, not in effect; their indices are compared")
            for key in ("digest", "indices") if "data" not in self._not_comparable else ("indices",):
                pair = [
                    {f"loader {loader + 1} batch {place + at + 1} {key}": batch[key] for at, batch in enumerate(part)}
                    for part in parts
                ]
                if all(value is not None for values in pair for value in values.values()):
                    self.collector.compare(number, "data", pair)

    def _another_form(self, parts: Sequence[list[dict[str, Any]]], steps: tuple[Step, Step]) -> bool:
        """Tell whether batches are of the same samples and come to the same, though their tensors are others."""
        digests, indices = ([[batch[key] for batch in part] for part in parts] for key in ("digest", "indices"))
        if digests[0] == digests[1] or indices[0] != indices[1] or None in indices[0]:
            return False
        losses = [views.effective_losses(step, step.optimizer) for step in steps]
        return losses[0] == losses[1] and channels.gradients_agree(*steps)

    def _calls(self, number: int, steps: tuple[Step, Step]) -> None:
        """Compare what models get and give, where that had an effect: arguments may be passed in another form."""
        one, other = steps
        losses = [views.effective_losses(step, step.optimizer) for step in steps]
        same = losses[0] == losses[1] and channels.gradients_agree(one, other)
        for channel in ("inputs", "outputs"):
            if same and not channels.calls_agree(one, other, channel):
                self._not_comparable.add(channel)
        shown = [channel for channel in ("inputs", "outputs") if channel not in self._not_comparable]
        channels.compare_calls(self.collector, number, one, other, shown)
        apart = len(one.forwards) != len(other.forwards)
        if apart and self._calls_apart is None:
            self._calls_apart = f"{len(one.forwards)} and {len(other.forwards)} in step {number}"
        for pairing in self._pairings:
            if apart or pairing.channel in self._not_comparable:
                self.collector.compare(number, pairing.channel, pairing.compare(one, other, same))

    def call_notes(self) -> Iterator[str]:
        """Yield how models were compared that are called in other ways."""
        apart = [pairing for pairing in self._pairings if self._calls_apart or pairing.channel in self._not_comparable]
        if self._calls_apart is not None:
            yield f"models are called in another way: {self._calls_apart}"
        for pairing in apart:
            what = f"{pairing.channel} of models differ in form, not in effect"
            compared = f"tensors with the same content are compared, {pairing.num_known} in a step"
            yield f"{what}; {compared if pairing.num_known else 'they are not compared'}"

    def _note(self, key: str, text: str) -> None:
        if key not in self._not_comparable:
            self._not_comparable.add(key)
            self.notes.append(text)

    def _between(self, done: int) -> None:
        """Compare evaluations and checkpoints after a number of steps."""
        shown = [channel for channel in ("outputs",) if channel not in self._not_comparable]
        evaluations = self._paired(done, "evaluations", self._evaluations(done))
        reported = self._reported(done, bool(evaluations))
        for one, other in evaluations:
            samples = "indices" if "data" in self._not_comparable else "digest"
            drawn = self._drawn_after(done)
            channels.compare_evaluation(self.collector, done, one, other, shown, drawn, samples, reported)
        for pair in self._saved(done):
            channels.compare_checkpoint(self.collector, done, pair, self._sides, self.checkpoints.only)
        self.collector.end_block()

    def _saved(self, done: int) -> list[tuple[Checkpoint, Checkpoint]]:
        """Return the checkpoints after a number of steps that are compared with each other."""
        if self.checkpoints.ignore:
            return []
        sides = [self._after(done, view, view.trace.checkpoints) for view in self._sides]
        if self.checkpoints.moments == "all":
            return self._paired(done, "checkpoints", sides)
        one, other = sides
        return [(one[-1], other[-1])] if one and other else []

    def _reported(self, done: int, evaluated: bool) -> bool:
        """Compare the metrics of evaluations, with what is reported until the next step: modes may be put back before.

        Where there was no evaluation, what is reported belongs to that step. Returns whether both sides report any.
        """
        self._evaluated = evaluated
        records: list[list[Events]] = []
        for view in self._sides:
            trace = view.trace
            own = self._after(done, view, trace.evaluations)
            following = trace.steps[done : done + 1] if evaluated else []
            left = [trace.rest] if trace.rest and done >= len(trace.steps) else []
            records.append([*own, *following, *left])
        self._metrics(done, records)
        return all(any(record.metrics for record in side) for side in records)

    def _metrics(self, where: int, records: Sequence[Sequence[Events]]) -> None:
        pair = [side.values(own) for side, own in zip(self.reports, records, strict=True)]
        self.collector.compare(where, "metrics", pair)

    def _evaluations(self, done: int) -> list[list[Evaluation]]:
        """Return the evaluations of both sides after a number of steps, and keep the calls of what was none.

        A stretch in which all calls had gradients may be an evaluation or a part of the step: it is what the other side
        says.
        """
        found = [[one for one in self._after(done, v, v.trace.evaluations) if _happened(one)] for v in self._sides]
        certain = [[one for one in side if not may_train(one)] for side in found]
        choices = [found, certain, [found[0], certain[1]], [certain[0], found[1]]]
        # Beside an evaluation, what modules in training mode are called for may be statistics.
        modal = [[one for one in side if any(call["mode"] == "eval" for call in one.forwards)] for side in certain]
        choices += [modal] if all(modal) else []
        chosen = next((pair for pair in choices if len(pair[0]) == len(pair[1])), certain)
        self._calls_before = [
            [call for one in side if all(one is not other for other in taken) for call in one.forwards]
            for side, taken in zip(found, chosen, strict=True)
        ]
        return chosen

    def _drawn_after(self, done: int) -> set[str]:
        """Return the generators to compare around an evaluation: none where the next step finds them alike.

        Where an evaluation ends is seen by modes only, so draws for the next step may be on either side of it.
        """
        following = [view.trace.steps[done : done + 1] for view in self._sides]
        if not all(following):
            return set()
        drawn = self._drawn[done + 1] & self._drawn.get(done, self.drawn)
        return set() if channels.generators_agree(following[0][0], following[1][0], drawn) else drawn

    def _after(self, done: int, view: View, found: Sequence[T]) -> list[T]:
        return [one for one in found if self._done(view, one.after_step) == done]

    def _paired(self, done: int, channel: str, sides: Sequence[Sequence[T]]) -> list[tuple[T, T]]:
        if any(sides):
            # Where only one side goes on to the next epoch, that is why it alone does what is done between them.
            following = [view.trace.steps[done : done + 1] for view in self._sides]
            epochs = [sum(views.epochs(step) for step in steps) for steps in following]
            phase = "data" if (epochs[0] - epochs[1]) * (len(sides[0]) - len(sides[1])) > 0 else None
            self.collector.compare(done, channel, [{"number": len(side)} for side in sides], phase)
        return list(zip(*sides, strict=False))

    def _done(self, view: View, after_step: int) -> int:
        """Return how many steps of a trace came before; numbers in it may begin later, in a window."""
        first = view.trace.steps[0].number if view.trace.steps else 0
        return after_step - first

    def _tail(self, steps: int) -> None:
        """Compare how many steps there are, and what is left at the end."""
        one, other = self.reference.trace, self.candidate.trace
        if one.complete and other.complete:
            self.collector.compare(steps, "steps", [{"number": len(one.steps)}, {"number": len(other.steps)}])
        if one.rest is None or other.rest is None or len(one.steps) != len(other.steps):
            return
        # An optimizer that a program has let go of by then is not in its trace any more.
        first, second = (_rest(view) for view in self._sides)
        shared = [key for key in first if key in second]
        if one.header["level"] != other.header["level"]:
            shared = [key for key in shared if not key.endswith(" parameters")]
        pair = [{key: side[key] for key in shared} for side in (first, second)]
        self.collector.compare(steps, "end", pair)


def _happened(evaluation: Evaluation) -> bool:
    """Tell whether anything ran or was reported in a stretch in evaluation mode."""
    return bool(evaluation.forwards or evaluation.batches or evaluation.metrics or evaluation.components)


def _of_kind(view: View, kind: str) -> Iterator[dict[str, Any]]:
    for names in view.trace.names:
        yield from getattr(names, kind)


def _rest(view: View) -> dict[str, Any]:
    rest = view.trace.rest
    assert rest is not None
    # A root tells no tensor from another.
    lone = {kind for kind in ("frozen", "buffers") if any(one["name"] in view.lone for one in _of_kind(view, kind))}
    found: dict[str, Any] = {} if "frozen" in lone or rest.frozen is None else {"frozen parameters": rest.frozen}
    for left in rest.optimizers:
        number = left["optimizer"]
        if number not in view.order:
            continue  # never stepped
        name = f"optimizer {view.order[number] + 1}"
        for kind in ("parameters", "buffers", "state"):
            if left["roots"].get(kind) is not None and kind not in lone:
                found[f"{name} {kind}"] = left["roots"][kind]
        for place, group in enumerate(left["groups"], 1):
            found |= {f"{name} group {place} {key}": value for key, value in views.plain_group(group).items()}
    return found


def listed(names: Names) -> list[dict[str, Any]]:
    """Return all tensors of a table of names."""
    return [*names.parameters, *names.buffers, *names.frozen]
