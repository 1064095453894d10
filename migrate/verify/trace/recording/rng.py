"""The states of random generators, and how much was drawn from them, without drawing or wrapping anything."""

from __future__ import annotations

import ctypes
import random
import struct
import sys
from dataclasses import dataclass
from typing import Any

import torch
import xxhash

from .stream import Record

_WORDS = 624  # of a Mersenne Twister (Matsumoto and Nishimura, 1998)
_State = ctypes.c_uint32 * (_WORDS + 1)
# In the object of CPython's `_random.Random`: its head, how many words are used up, the words.
_PYTHON_OFFSET = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the words of a Mersenne Twister are in the bytes of a state.

    Attributes:
        start: Offset of the words.
        words: All of them, for `struct`.
        used: Offset of a 32 bit integer, which tells how many are used up.
        left: Whether it tells how many are left instead, and one more.
    """

    start: int
    words: str
    used: int
    left: bool = False

    def split(self, state: bytes) -> tuple[bytes, int]:
        """Return the words, and how many of them are used up."""
        (used,) = struct.unpack_from("<i", state, self.used)
        return state[self.start : self.start + struct.calcsize(self.words)], _WORDS + 1 - used if self.left else used


# ATen's CPUGeneratorImplStateLegacy: seed, left, seeded, next, 624 words of 64 bits, then what normal numbers are kept.
TORCH = Layout(start=24, words=f"<{_WORDS}Q", used=8, left=True)
PYTHON = Layout(start=4, words=f"<{_WORDS}I", used=0)
NUMPY = Layout(start=0, words=f"<{_WORDS}I", used=4 * _WORDS)


class Generators:
    """Looks at generators at certain moments.

    Args:
        most_rounds: How many times the 624 words of a generator may have been renewed between two looks for the number
            of draws to be found; each costs a few us.
    """

    def __init__(self, most_rounds: int) -> None:
        self.most_rounds = most_rounds
        self.named: dict[str, torch.Generator] = {}
        self._last: dict[str, tuple[bytes, str]] = {}
        self._numpy: tuple[Any, Any] = (None, None)
        self._numpy_memory: bytes | None = None
        self._python = _python_memory()
        self._marks: dict[str, tuple[Any, Record]] = {}

    def look(self) -> Record:
        """Return for each generator the digest of its state and the words drawn since the last look, if known."""
        found = {"python": self._python_entry()}
        numpy = sys.modules.get("numpy.random")
        if numpy is not None:
            found["numpy"] = self._numpy_entry(numpy)
        found["torch"] = self._torch_entry("torch", torch.default_generator)
        if cuda_is_used():
            for number, state in enumerate(torch.cuda.get_rng_state_all()):
                found[f"cuda:{number}"] = self._entry(f"cuda:{number}", _bytes(state), None)
        for name, generator in self.named.items():
            found[name] = self._torch_entry(name, generator)
        return found

    def _torch_entry(self, name: str, generator: torch.Generator) -> Record:
        state = generator.get_state()
        if self.most_rounds:
            return self._entry(name, _bytes(state), TORCH if generator.device.type == "cpu" else None)
        digest = xxhash.xxh3_128_hexdigest((ctypes.c_char * state.nbytes).from_address(state.data_ptr()))
        last = self._last.get(name)
        self._last[name] = (b"", digest)
        return {"digest": digest, "draws": 0 if last is not None and last[1] == digest else None}

    def _unchanged(self, name: str, mark: Any) -> Record | None:
        """Return the last entry of a generator if it is as it was, by a short digest of its memory."""
        known = self._marks.get(name)
        return known[1] if known is not None and known[0] == mark else None

    def _python_entry(self) -> Record:
        mark = None
        if self._python is not None:
            mark = xxhash.xxh3_64_intdigest(self._python), random._inst.gauss_next  # type: ignore[attr-defined]
            found = self._unchanged("python", mark)
            if found is not None:
                return found
        found = self._entry("python", self._python_state(), PYTHON)
        if mark is not None:
            self._marks["python"] = mark, {**found, "draws": 0}
        return found

    def marks(self) -> dict[str, str]:
        """Return a short digest of each state that can be had in a microsecond or two; it is no look."""
        states = {"python": self._python_state(), "torch": _bytes(torch.get_rng_state())}
        numpy = sys.modules.get("numpy.random")
        words = None if numpy is None else self._numpy_words(numpy.mtrand._rand._bit_generator)
        if words is not None:
            states["numpy"] = bytes(words)
        return {name: xxhash.xxh3_64_hexdigest(state) for name, state in states.items()}

    def _entry(self, name: str, state: bytes, layout: Layout | None) -> Record:
        last = self._last.get(name)
        if last is not None and last[0] == state:
            return {"digest": last[1], "draws": 0}
        digest = xxhash.xxh3_128_hexdigest(state)
        self._last[name] = (state, digest)
        draws = None
        # Python and NumPy seldom draw so much that a renewal has to be followed; torch does at each step.
        rounds = self.most_rounds if layout is TORCH else max(1, self.most_rounds)
        if last is not None and layout is not None and rounds:
            draws = drawn(layout.split(last[0]), layout.split(state), layout.words, rounds)
        return {"digest": digest, "draws": draws}

    def _python_state(self) -> bytes:
        if self._python is not None:
            words = bytes(self._python)
            gauss = random._inst.gauss_next  # type: ignore[attr-defined]
            return words if gauss is None else words + gauss.hex().encode()
        _, (*numbers, used), gauss = random.getstate()
        return struct.pack(f"<i{_WORDS}I", used, *numbers) + (b"" if gauss is None else gauss.hex().encode())

    def _numpy_entry(self, numpy: Any) -> Record:
        """Return the entry of NumPy's global generator; `get_state` takes 26 us, so it is asked for where it must be.

        As long as no word was drawn and no normal number is kept for the next call, nothing has changed.
        """
        bits = numpy.mtrand._rand._bit_generator
        words = self._numpy_words(bits)
        if words is None:
            return self._entry("numpy", repr(bits.state).encode(), None)
        mark = bits, xxhash.xxh3_64_intdigest(words)
        if (found := self._unchanged("numpy", mark)) is not None:
            return found
        memory = bytes(words)
        if self._numpy_memory == memory:
            return {"digest": self._last["numpy"][1], "draws": 0}
        _, _, _, has_gauss, gauss = numpy.get_state()
        self._numpy_memory = None if has_gauss else memory
        found = self._entry("numpy", memory + (gauss.hex().encode() if has_gauss else b""), NUMPY)
        if has_gauss:
            self._marks.pop("numpy", None)
        else:
            self._marks["numpy"] = mark, {**found, "draws": 0}
        return found

    def _numpy_words(self, bits: Any) -> Any:
        """Return the words of a Mersenne Twister of NumPy where they are; None for another kind of generator."""
        if type(bits).__name__ != "MT19937":
            return None
        if self._numpy[0] is not bits:
            self._numpy = (bits, _State.from_address(bits.ctypes.state_address))
        return self._numpy[1]


def _python_memory() -> Any:
    """Return the words of Python's generator where they are in memory; None where they are not as expected.

    `getstate` copies each into an object.
    """
    enough = random.Random.__basicsize__ >= _PYTHON_OFFSET + ctypes.sizeof(_State)
    if sys.implementation.name != "cpython" or not enough or type(random._inst) is not random.Random:
        return None
    memory = _State.from_address(id(random._inst) + _PYTHON_OFFSET)
    _, (*numbers, used), _ = random.getstate()
    return memory if bytes(memory) == struct.pack(f"<i{_WORDS}I", used, *numbers) else None


def cuda_is_used() -> bool:
    """Tell whether CUDA has been started; asking its generators would start it."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _bytes(state: torch.Tensor) -> bytes:
    return ctypes.string_at(state.data_ptr(), state.nbytes)


def drawn(before: tuple[bytes, int], after: tuple[bytes, int], words: str, most_rounds: int) -> int | None:
    """Return how many words of 32 bits lie between two states of a Mersenne Twister.

    None if there are more than ``most_rounds`` renewals between them, or none leads from one to the other. A generator
    of Python, which is one too, goes on from the first until it gives what the second holds.
    """
    if before[0] == after[0]:
        return after[1] - before[1] if after[1] >= before[1] else None
    twister = random.Random(0)
    twister.setstate((3, (*struct.unpack(words, after[0]), 0), None))
    goal = twister.getrandbits(32 * _WORDS)
    twister.setstate((3, (*struct.unpack(words, before[0]), _WORDS), None))
    for rounds in range(1, most_rounds + 1):
        if twister.getrandbits(32 * _WORDS) == goal:
            return rounds * _WORDS + after[1] - before[1]
    return None
