"""Full states of a run beside its trace, and putting those of another run into this one (lockstep)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .names import Names
from .rng import cuda_is_used
from .settings import Settings

# The program's `torch.save` may be replaced by the hooks.
_save, _load = torch.save, torch.load
FIRST = "first.pt"


def file_name(steps: int) -> str:
    """Return the name of the state after so many steps."""
    return f"after_{steps:08d}.pt"


class States:
    """Saves and puts in states where the settings say so."""

    def __init__(self, settings: Settings, names: Names) -> None:
        self.every = settings.states_every
        self.folder = Path(settings.states)
        self.inject = Path(settings.inject) if settings.inject else None
        self.renamed = settings.names
        self.names = names
        self.num_injected = 0
        self._has_first = False

    def of_process(self, part: str) -> None:
        """Use this part of the folders, where each process but the first has its own."""
        self.folder /= part
        if self.inject is not None:
            self.inject /= part

    def save_first(self, steps: int) -> None:
        """Save the state before the first step of all, its random generators excepted: the step is under way."""
        if self.every and steps == 0 and not self._has_first:
            self._has_first = True
            self._write({**self._state(0), "rng": None}, FIRST)

    def after_step(self, steps: int) -> None:
        """Save the state after so many steps, then put in the other run's, each where it is due."""
        if self.every and steps % self.every == 0:
            self._write({**self._state(steps), "rng": generators()}, file_name(steps))
        if self.inject is not None and (path := self.inject / file_name(steps)).exists():
            self._put(_load(path, weights_only=True))
            self.num_injected += 1

    def _write(self, state: dict[str, Any], name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{name}.partial"
        _save(state, partial)
        partial.replace(self.folder / name)

    def _state(self, steps: int) -> dict[str, Any]:
        parameters, state = {}, {}
        for name, parameter, optimizer in self._parameters():
            parameters[name] = parameter.detach()
            state[name] = dict(optimizer.state.get(parameter, {}))
        buffers = dict(self._buffers())
        return {"steps": steps, "parameters": parameters, "buffers": buffers, "state": state}

    def _parameters(self) -> list[tuple[str, Tensor, Optimizer]]:
        return [
            (self.names.parameter_names[self.names.parameter_numbers[id(parameter)]], parameter, optimizer)
            for _, optimizer in self.names.live_optimizers()
            for group in optimizer.param_groups
            for parameter in group["params"]
            if id(parameter) in self.names.parameter_numbers
        ]

    def _buffers(self) -> list[tuple[str, Tensor]]:
        pairs = zip(self.names.buffer_names, self.names.buffers, strict=True)
        found = [(name, module._buffers.get(key)) for name, (ref, key) in pairs if (module := ref()) is not None]
        return [(name, buffer) for name, buffer in found if buffer is not None]

    def _put(self, state: dict[str, Any]) -> None:
        """Copy the values of a state into the tensors that are there; hyper-parameters stay as they are.

        Raises:
            KeyError: A tensor has no counterpart.
        """
        parameters, buffers, states = (self._renamed(state[kind]) for kind in ("parameters", "buffers", "state"))
        with torch.no_grad():
            for name, parameter, optimizer in self._parameters():
                _copy(name, parameter, parameters)
                _put_state(optimizer, parameter, states.get(name, {}))
            for name, buffer in self._buffers():
                _copy(name, buffer, buffers)
        set_generators(state["rng"])

    def _renamed(self, values: dict[str, Any]) -> dict[str, Any]:
        return {self.renamed.get(name, name): value for name, value in values.items()}


def _copy(name: str, target: Tensor, values: dict[str, Tensor]) -> None:
    if name not in values:
        raise KeyError(f"{name}: not in the state that was to be put in, which has {sorted(values)}")
    if values[name].shape != target.shape:
        raise ValueError(f"{name}: shape {tuple(values[name].shape)} in the other state, here {tuple(target.shape)}")
    target.copy_(values[name])


def _put_state(optimizer: Optimizer, parameter: Tensor, values: dict[str, Any]) -> None:
    here = optimizer.state[parameter] if values else {}
    for key, value in values.items():
        if isinstance(value, Tensor) and isinstance(here.get(key), Tensor):
            here[key].copy_(value)
        else:
            here[key] = value.clone() if isinstance(value, Tensor) else value


def generators() -> dict[str, Any]:
    """Return the states of the global generators as tensors and plain values."""
    import numpy as np

    version, words, gauss = random.getstate()
    numpy: Any = np.random.get_state()
    name, keys, used, has_gauss, numpy_gauss = numpy
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.tensor(keys.tolist()), int(used), int(has_gauss), float(numpy_gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda_is_used() else [],
    }


def set_generators(states: dict[str, Any]) -> None:
    """Put the global generators into states that `generators` returned."""
    import numpy as np

    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, used, has_gauss, numpy_gauss = states["numpy"]
    np.random.set_state((name, keys.numpy().astype("uint32"), used, has_gauss, numpy_gauss))
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
