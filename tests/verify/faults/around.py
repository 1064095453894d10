"""Faults in evaluation, checkpoints, resuming and how long a run goes on."""

from __future__ import annotations

from typing import Any

import torch

from tests.verify.faults.catalogue import any_checkpoint, checkpoint, evaluation, fault, first_step, start
from tests.verify.toys import Toy

RESUMED = ("resumed",)


def changed_metric(base: type[Toy], change: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def report(self, name: str, value: float) -> None:
            if self.hit:
                change(super().report, name, value)
            else:
                super().report(name, value)

    return Faulty


@fault("evaluation", "a metric times 1 + 1e-9", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    return changed_metric(base, lambda report, name, value: report(name, value * (1 + 1e-9)))


@fault("evaluation", "a metric under another name", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    return changed_metric(base, lambda report, name, value: report("accuracy", value))


@fault("evaluation", "a metric is not reported", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    return changed_metric(base, lambda report, name, value: None)


@fault("evaluation", "batches count alike, also the partial one", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def metric(self) -> float:
            if not self.hit:
                return super().metric()
            losses = [self.loss(self.model(x), y).item() for x, y in self.eval_loader]
            return sum(losses) / len(losses)

    return Faulty


@fault("evaluation", "the last batch is not evaluated", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def metric(self) -> float:
            if not self.hit:
                return super().metric()
            pairs = list(self.eval_loader)[:-1]
            return sum(self.loss(self.model(x), y).item() for x, y in pairs) / len(pairs)

    return Faulty


@fault("evaluation", "evaluation one step late", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def after_step(self) -> None:
            due = self.step % self.eval_every == (
                1 if self.hit and self.step > self.eval_every * -(-self.at // self.eval_every) else 0
            )
            if due and not (self.hit and self.step == self.eval_every * -(-self.at // self.eval_every)):
                self.evaluate()
            if self.step % self.save_every == 0:
                self.save("last.pt")

    return Faulty


@fault("evaluation", "evaluation in training mode", first=evaluation, begins=(2, 12))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def evaluate(self) -> None:
            if not self.hit:
                super().evaluate()
                return
            with torch.no_grad():
                self.report("loss", self.metric())

    return Faulty


def changed_state(base: type[Toy], change: Any) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def state(self) -> dict[str, Any]:
            state = super().state()
            if self.hit:
                change(self, state)
            return state

    return Faulty


@fault("checkpoint", "a key is missing", first=any_checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    return changed_state(base, lambda toy, state: state.pop("schedule"))


@fault("checkpoint", "a buffer is missing", first=any_checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    return changed_state(base, lambda toy, state: state["model"].pop("batch_norm.running_mean"))


@fault("checkpoint", "the number of steps is one off", first=any_checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    return changed_state(base, lambda toy, state: state.update(step=state["step"] - 1))


@fault("checkpoint", "weights are saved in half precision", first=any_checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    def change(toy: Toy, state: dict[str, Any]) -> None:
        state["model"] = {name: value.half() for name, value in state["model"].items()}

    return changed_state(base, change)


@fault("checkpoint", "the best value is not saved", first=any_checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    return changed_state(base, lambda toy, state: state.update(best=float("inf")))


@fault("checkpoint", "no checkpoint at its interval", first=checkpoint, begins=(2, 10))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def save(self, name: str) -> None:
            if not (self.hit and name == "last.pt"):
                super().save(name)

    return Faulty


@fault("checkpoint", "the worst is taken for the best", ("classifier", "regressor"), evaluation, (8, 8))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def improves(self, value: float) -> bool:
            return super().improves(value) != self.hit

    return Faulty


@fault("end", "one step fewer", first=lambda clean, at: clean.first_call[clean.steps] - 1, begins=(2, 2))
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        steps = base.steps - 1

        def factor(self, step: int) -> float:
            self.steps += 1
            found = super().factor(step)
            self.steps -= 1
            return found

    return Faulty


@fault(
    "end",
    "the best weights are put back at the end",
    ("classifier", "constrained"),
    lambda clean, at: clean.calls,
    (2, 2),
)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def finish(self) -> None:
            self.model.load_state_dict(torch.load(self.folder / "best.pt")["model"])

    return Faulty


def without(base: type[Toy], *names: str) -> type[Toy]:
    """Resume without some part of the state."""

    class Faulty(base):  # type: ignore[valid-type, misc]
        def restore(self, saved: dict[str, Any]) -> None:
            fresh = self.snapshot()
            super().restore({**saved, **{name: fresh[name] for name in names}})

    return Faulty


@fault("rng", "resuming without random generators", RESUMED, first_step)
def _(base: type[Toy]) -> type[Toy]:
    return without(base, "rng")


@fault("hyper", "resuming without the schedule", RESUMED, first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def restore(self, saved: dict[str, Any]) -> None:
            super().restore(saved)
            self.schedule = self.make_schedule()

    return Faulty


@fault("update", "resuming without the state of the optimizer", RESUMED, first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def restore(self, saved: dict[str, Any]) -> None:
            super().restore(saved)
            self.optimizer.state.clear()

    return Faulty


@fault("setup", "resuming without the model", RESUMED, start)
def _(base: type[Toy]) -> type[Toy]:
    return without(base, "model")


@fault("buffers", "resuming without buffers", RESUMED, first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def restore(self, saved: dict[str, Any]) -> None:
            super().restore(saved)
            self.model.batch_norm.reset_running_stats()

    return Faulty


@fault("evaluation", "resuming without the number of steps", RESUMED, first_step)
def _(base: type[Toy]) -> type[Toy]:
    class Faulty(base):  # type: ignore[valid-type, misc]
        def restore(self, saved: dict[str, Any]) -> None:
            super().restore(saved)
            self.step += 1

    return Faulty
