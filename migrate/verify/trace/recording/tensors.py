"""The tensors of an optimizer, and which of them a step digests at which level."""

from __future__ import annotations

from typing import Any

import xxhash
from torch import Tensor
from torch.optim import Optimizer

from .digests import ABSENT, Slots, digest, root, tensor_digest
from .names import Names
from .stream import Record

# What digests cost at most for gradients and states to be in every step at level `light`, in microseconds.
_CHEAP_US = 50
_BYTES_PER_US = 25_000
_SPARSE = 25
_EMPTY: dict[str, Any] = {}


class Tables:
    """Digests of parameters, gradients, buffers and state, as roots and one by one."""

    def __init__(self, names: Names, level: str) -> None:
        self.names = names
        self.level = level
        self._states: dict[int, _State] = {}
        self._slots: dict[int, Slots] = {}
        self._intervals: dict[int, int] = {}

    def wants_all(self, number: int, step: int) -> bool:
        """Tell whether gradients and state are digested at a step of an optimizer."""
        return self.level != "light" or step % self._intervals.get(number, 1) == 0

    def prepare(self, number: int, optimizer: Optimizer) -> None:
        """Decide how often gradients and state of an optimizer are digested; a function of its size alone."""
        tensors = _parameters(optimizer)
        cost_us = (
            4 * len(tensors) + 3 * sum(tensor.numel() * tensor.element_size() for tensor in tensors) / _BYTES_PER_US
        )
        self._intervals[number] = 1 if cost_us <= _CHEAP_US else _SPARSE
        self._states.pop(number, None)
        self._slots[number] = Slots()

    def gradients(self, optimizer: Optimizer) -> bytes:
        """Return the digests of all gradients, joined."""
        return b"".join(
            ABSENT if (grad := parameter.grad) is None else tensor_digest(grad) for parameter in _parameters(optimizer)
        )

    def parameters(self, number: int, optimizer: Optimizer, look: bool = True) -> bytes:
        """Return the digests of all parameters, joined; at level `light` one digest of all of them.

        Args:
            number: Of the optimizer.
            optimizer: Whose they are.
            look: Whether types and shapes are looked at where addresses and sizes have stayed the same.
        """
        slots = self._slots[number]
        if self.level != "light":
            return slots.digests(_parameters(optimizer))
        if look:
            slots.forget()
        return slots.together(_parameters(optimizer))

    def buffers(self) -> bytes:
        """Return the digests of all buffers of the roots, joined; of one that is gone now, zeros."""
        found = []
        for ref, key in self.names.buffers:
            module = ref()
            buffer = None if module is None else module._buffers.get(key)
            found.append(ABSENT if buffer is None else tensor_digest(buffer))
        return b"".join(found)

    def frozen(self) -> str | None:
        """Return the root of the parameters that no optimizer has; None if the program has let go of one."""
        tensors = [ref() for ref in self.names.frozen]
        if any(tensor is None for tensor in tensors):
            return None
        return root(tensor_digest(tensor) for tensor in tensors if tensor is not None).hex()

    def state(self, number: int, optimizer: Optimizer) -> tuple[bytes, list[tuple[int, str]] | None]:
        """Return the digests of the state, joined, and the table of what they are of where it has changed."""
        states = [optimizer.state.get(parameter, _EMPTY) for parameter in _parameters(optimizer)]
        keys = [tuple(state) for state in states]
        known = self._states.get(number)
        table = None
        if known is None or known.keys != keys:
            known = self._states[number] = _State(keys)
            numbers = [self.names.parameter_numbers[id(parameter)] for parameter in _parameters(optimizer)]
            table = [(numbers[at], str(key)) for at, key in known.plan]
        values = [states[at][key] for at, key in known.plan]
        if all(isinstance(value, Tensor) for value in values):
            return known.slots.digests(values), table
        digests = [tensor_digest(one) if isinstance(one, Tensor) else bytes.fromhex(digest(one)) for one in values]
        return b"".join(digests), table


class _State:
    """What the state of an optimizer is made of, and in which order it is digested."""

    def __init__(self, keys: list[tuple[Any, ...]]) -> None:
        self.keys = keys
        self.plan = [(at, key) for at, some in enumerate(keys) for key in sorted(some, key=str)]
        self.slots = Slots()


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    groups = optimizer.param_groups
    if len(groups) == 1:
        return groups[0]["params"]  # type: ignore[no-any-return]
    return [parameter for group in groups for parameter in group["params"]]


def roots_of(kinds: dict[str, bytes | None]) -> Record:
    """Return the roots of joined digests by kind."""
    return {kind: None if found is None else xxhash.xxh3_128_hexdigest(found) for kind, found in kinds.items()}
