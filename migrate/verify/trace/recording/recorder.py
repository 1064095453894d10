"""Turns what the hooks see into records. Hooks call it through `guarded`: its errors stay here."""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from .checkpoints import Saved
from .digests import Hyper, digest, digest_with_tensors, number
from .ending import footer, refuse_compiled_steps
from .events import Events, Within
from .modes import Modes
from .names import Names
from .numbering import Numbers
from .output import Output
from .rng import Generators
from .settings import Settings
from .states import States
from .stream import Record
from .tensors import Tables, roots_of
from .unobserved import unobserved
from .values import Values

# How many renewals of a generator's 624 words are followed to count what was drawn.
_ROUNDS = {"light": 0, "full": 8, "deep": 4096}
# Of a step or an evaluation; some programs call hundreds of small modules.
_CALLS_WITH_TENSORS = 32
ALWAYS_EXPECTED = ("forward", "backward", "step")


class _Begun(NamedTuple):
    """What a step of an optimizer begins with."""

    gradients: bytes | None
    groups: list[Record]
    num_losses: int


class Recorder:
    """The state of a recording.

    Args:
        settings: What is recorded, and where.
        header: Returns the first record, and the file that this process may write, when the first record is written.

    Attributes:
        look_for_names: Called with each event until the functions that the settings name are found.
        not_found: Those that are not, and why.
        thread: The thread that trains.
        modes_seen: Whether the program has entered a mode of torch, which would see what the recorder does.
    """

    def __init__(self, settings: Settings, header: Callable[[], tuple[Record, Path]]) -> None:
        self.settings = settings
        self.header = header
        self.look_for_names: Callable[[], None] | None = None
        self.not_found: dict[str, str] = {}
        self.modes_seen = False
        self._begin()

    def _begin(self) -> None:
        settings = self.settings
        self.active = True
        self.dormant = False
        self.closed = False
        self.paths: dict[int, tuple[int, str]] = {}
        self.deep = settings.level == "deep"
        self.names = Names()
        self.tables = Tables(self.names, settings.level)
        self.generators = Generators(_ROUNDS[settings.level])
        self.states = States(settings, self.names)
        self.values = Values(settings)
        self.stopped = False
        self.error: str | None = None
        self.exception: str | None = None
        self.notes: list[str] = []
        self.fired: Counter[str] = Counter()
        named = {"metric": settings.metrics, "save": settings.saves}
        self.expected = {*ALWAYS_EXPECTED, *settings.expect, *(hook for hook, names in named.items() if names)}
        self.output = Output(self._first_record, self.expected, self._in_window)
        self.inside: set[str] = set()
        self.num_steps = 0
        self.thread = threading.main_thread().ident
        self.num_evaluations = 0
        self.events = Events()
        self._evaluation: tuple[Events, Record] | None = None
        self._evaluated: Callable[[], nn.Module | None] = lambda: None
        self._optimizer_steps: Counter[int] = Counter()
        self._pending: dict[int, _Begun] = {}
        self._members: dict[int, list[str]] = {}
        self._hyper: defaultdict[tuple[int, int], Hyper] = defaultdict(Hyper)
        self.modes = Modes(self.names)
        self.numbers = Numbers()
        self.on = self._in_window(self.num_steps)

    def _first_record(self) -> tuple[Record, Path]:
        """Return the header and the file; states and values of a process go where its trace tells them apart."""
        record, path = self.header()
        part = path.name.removeprefix(Path(self.settings.out).name).removeprefix(".")
        self.states.of_process(part)
        self.values.of_process(part)
        return record, path

    def guarded(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the recorder; what goes wrong in it ends the recording and not the program."""
        if not self.active:
            return None
        try:
            if self.modes_seen:
                with unobserved():
                    return function(*args)
            return function(*args)
        except Exception as error:  # noqa: BLE001 - the border to a program that must not notice
            self.fail(error)
            return None

    @contextlib.contextmanager
    def pause(self, note: str) -> Iterator[None]:
        """Record nothing in a block, but that it was there."""
        was_active, self.active = self.active, False
        if was_active:
            self.note(note)
        try:
            yield
        finally:
            self.active = was_active and self.error is None

    def fail(self, error: BaseException) -> None:
        """Stop recording; the trace will not be complete."""
        self.active = False
        if self.error is None:
            self.error = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"bem-migrate: the tracer stopped: {self.error}\n")

    @property
    def over(self) -> bool:
        """Tell whether the program is to be ended: nothing more of it is wanted, or nothing can be recorded."""
        limit = self.settings.stop_after
        return bool(limit) and not self.dormant and (self.num_steps >= limit or self.error is not None)

    def within(self, hook: str) -> Within:
        """Return a block in which calls of a hook are part of one that was noted."""
        return Within(self.inside, hook)

    def sleep(self) -> None:
        """Begin anew in a process that trains only perhaps: nothing is recorded until it makes an optimizer."""
        self.output.abandon()
        self._begin()
        self.active, self.dormant = False, True

    def wake(self) -> bool:
        """Record from now on, if the process slept; returns whether it did."""
        slept, self.dormant = self.dormant, False
        self.active |= slept
        return slept

    def note(self, text: str) -> None:
        """Remember something for the footer, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def now(self) -> Events:
        """Return where events go at this moment: to the evaluation that goes on, or to the next step."""
        return self._evaluation[0] if self._evaluation else self.events

    def event(self, hook: str, phase: str) -> bool:
        """Count a hook and note a phase; returns whether this stretch of the run is recorded."""
        self.fired[hook] += 1
        if self.look_for_names is not None:
            self.look_for_names()
        evaluated = self._evaluated() if self._evaluation else None
        if evaluated is not None and evaluated.training:
            self.end_evaluation()  # Modes may be put back module by module, which no hook sees.
        if self.on:
            self.now["phases"].append(phase)
        return self.on

    # Steps of optimizers.

    def before_step(self, optimizer: Optimizer) -> None:
        """Note hyper-parameters and gradients as the step will use them."""
        self.end_evaluation("step")
        self.fired["step"] += 1
        self.thread = threading.get_ident()
        index = self.names.optimizer(optimizer)
        self.names.notice_changes(index, optimizer)
        if self.names.changed:
            self._write_names()
        self.states.save_first(self.num_steps)
        if not self.on:
            return
        all_kinds = self.tables.wants_all(index, self._optimizer_steps[index])
        self._pending[index] = _Begun(
            self.tables.gradients(optimizer) if all_kinds else None,
            self._groups(index, optimizer),
            len(self.events.get("losses", ())),
        )

    def after_step(self, optimizer: Optimizer) -> None:
        """Write the record of a step, save or put in a state where that is due, and begin the next one."""
        index = self.names.optimizer(optimizer)
        begun = self._pending.pop(index, _Begun(None, [], 0))
        if self.on:
            self.events["phases"].append(f"step:{index}")
            self._write_step(index, optimizer, begun)
        self._optimizer_steps[index] += 1
        self.num_steps += 1
        self.events = Events()
        self.states.after_step(self.num_steps)
        self.on = self._in_window(self.num_steps)

    def _write_step(self, index: int, optimizer: Optimizer, begun: _Begun) -> None:
        count = self._optimizer_steps[index]
        state, table = None, None
        all_kinds = self.tables.wants_all(index, count)
        if all_kinds:
            state, table = self.tables.state(index, optimizer)
        kinds = {
            "parameters": self.tables.parameters(index, optimizer, all_kinds),
            "gradients": begun.gradients,
            "buffers": self.tables.buffers(),
            "state": state,
        }
        record: Record = {
            "kind": "step",
            "number": self.num_steps,
            "optimizer": index,
            "optimizer_step": count,
            "names": self.names.number,
            **self.events,
            "groups": begun.groups,
            "roots": roots_of(kinds),
            "rng": self.generators.look(),
            "modes": self.modes.digest(all_kinds),
        }
        if closures := len(self.events.get("losses", ())) - begun.num_losses:
            record["closures"] = closures
        if table is not None:
            record["state_table"] = table
        if self.settings.level != "light":
            record["tensors"] = {kind: found.hex() for kind, found in kinds.items() if found is not None}
        self.output.write(record)

    def _in_window(self, step: int) -> bool:
        window = self.settings.window
        return window is None or window[0] <= step < window[1]

    def _groups(self, index: int, optimizer: Optimizer) -> list[Record]:
        return [
            {**self._hyper[index, at].record(group), "members": members}
            for at, (group, members) in enumerate(zip(optimizer.param_groups, self._members[index], strict=True))
        ]

    def _write_names(self) -> None:
        record = self.names.record()
        self.output.write(record)
        self.modes.changed = True
        for index, optimizer in self.names.live_optimizers():
            groups = record["optimizers"][index]["groups"]
            self._members[index] = [digest([record["parameters"][one]["name"] for one in group]) for group in groups]
            self.tables.prepare(index, optimizer)
        if self.deep and any(root["compiled"] for root in record["roots"]):
            self.note("calls of modules inside a compiled one are not seen")

    # Modules.

    def mode(self, module: nn.Module, training: bool) -> None:
        """Note that a module changed between training and evaluation."""
        self.modes.changed = True
        if training:
            self.event("mode", "train")
            if self._evaluation and self.modes.is_trained(module):
                self.end_evaluation()
        else:
            if not self._evaluation and self.modes.is_trained(module):
                self.begin_evaluation(module)
            self.event("mode", "eval")

    def begin_evaluation(self, module: nn.Module) -> None:
        """Send what follows to the record of an evaluation."""
        if not self.on:
            return
        record: Record = {"kind": "evaluation", "number": self.num_evaluations, "after_step": self.num_steps}
        self._evaluation = (Events(), {**record, "rng_before": self.generators.look()})
        self._evaluated = weakref.ref(module)
        self.num_evaluations += 1

    def end_evaluation(self, ended: str = "mode") -> None:
        """Write the record of an evaluation that goes on; ``ended`` is what ends it."""
        if self._evaluation:
            events, record = self._evaluation
            self._evaluation = None
            self.output.write({**record, **events, "rng": self.generators.look(), "ended": ended})

    def forward(self, module: nn.Module, entry: int, grad: bool, args: Any) -> Record | None:
        """Note that the program calls a module; returns what `forward_done` completes, if there is something."""
        if not self.event("forward", f"forward:{entry}"):
            return None
        mode = "train" if module.training else "eval"
        record: Record = {"entry": entry, "mode": mode, "grad": grad}
        self._note_tensors(record, "input", args)
        if grad and self.settings.level != "light":
            record["rng"] = self.generators.marks()
        self.now["forwards"].append(record)
        return record if self.settings.level != "light" or self._evaluation else None

    def forward_done(self, record: Record, result: Any) -> None:
        """Add the digest of what a module returned."""
        self._note_tensors(record, "output", result)

    def _note_tensors(self, record: Record, side: str, value: Any) -> None:
        """Add the digest of what goes into a module or comes out of it, and of each tensor in the first calls."""
        if self.settings.level == "light" or len(self.now["forwards"]) > _CALLS_WITH_TENSORS:
            record[f"{side}s"] = digest(value)
            return
        record[f"{side}s"], tensors = digest_with_tensors(value)
        if tensors:
            record[f"{side}_tensors"] = tensors

    # Other events.

    def backward(self, losses: Iterable[Any]) -> None:
        """Note the losses that a backward pass starts from."""
        self.end_evaluation("backward")
        if self.event("backward", "backward"):
            self.events["losses"] += [number(loss) for loss in losses]

    def metric(self, name: str, value: Any) -> None:
        """Note the value of a metric."""
        self.fired["metric"] += 1
        if self.on:
            self.now["metrics"].append([name, number(value)])

    def checkpoint(self, one: Saved, file: str | None, best: bool, after_step: int | None) -> None:
        """Write what was saved.

        Args:
            one: What it is.
            file: Name of the file.
            best: Whether the program called it the best one.
            after_step: Where another thread than the one that trains saved it, steps done before; it is written with
                the next record.
        """
        if after_step is not None:
            self.fired["save"] += 1
            self.output.keep(after_step, one, file, best)
            return
        self.event("save", "save")
        self.output.keep(self.num_steps, one, file, best)
        self.output.write_kept()

    # The file.

    def close(self) -> None:
        """Write what is left, and the footer, once."""
        if self.closed or self.dormant:
            return
        self.closed = True
        self.guarded(self.end_evaluation, "end")
        if not self.stopped:
            self.guarded(self._write_rest)
        self.guarded(refuse_compiled_steps, self)
        self.active = False
        try:
            self.output.end(partial(footer, self), sealed=not self.settings.launcher)
        except Exception as error:  # noqa: BLE001 - the border to a program that must not notice
            self.fail(error)

    def _write_rest(self) -> None:
        optimizers = []
        for index, optimizer in self.names.live_optimizers():
            if index in self._members:
                state, _ = self.tables.state(index, optimizer)
                roots = roots_of({"parameters": self.tables.parameters(index, optimizer), "state": state})
                optimizers.append({"optimizer": index, "groups": self._groups(index, optimizer), "roots": roots})
        events = self.events if self.on else {}
        rng = self.generators.look()
        self.output.write(
            {"kind": "rest", **events, "optimizers": optimizers, "frozen": self.tables.frozen(), "rng": rng}
        )
