"""How many words were drawn from a generator is told by two of its states."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from migrate.verify.trace.recording.rng import NUMPY, PYTHON, TORCH, Layout, drawn

# How a state is read, how a generator is made, its state in the form that the recorder reads, drawing so many words.
Kind = tuple[Layout, Callable[[int], Any], Callable[[Any], bytes], Callable[[Any, int], object]]


def torch_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def torch_state(generator: torch.Generator) -> bytes:
    return generator.get_state().numpy().tobytes()


def python_state(generator: random.Random) -> bytes:
    *words, used = generator.getstate()[1]
    return struct.pack("<i624I", used, *words)


def numpy_state(generator: np.random.MT19937) -> bytes:
    state = generator.state["state"]
    return state["key"].tobytes() + struct.pack("<i", state["pos"])


KINDS: dict[str, Kind] = {
    "torch": (TORCH, torch_generator, torch_state, lambda own, n: torch.rand(n, generator=own)),
    "python": (PYTHON, random.Random, python_state, lambda own, n: own.getrandbits(32 * n)),
    "numpy": (NUMPY, np.random.MT19937, numpy_state, lambda own, n: own.random_raw(n)),
}


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1), earlier=st.integers(0, 1300), between=st.integers(0, 6000))
def test_words_between_two_states_are_counted(kind: str, seed: int, earlier: int, between: int) -> None:
    layout, make, state, draw = KINDS[kind]
    generator = make(seed)
    draw(generator, earlier)
    before = layout.split(state(generator))
    draw(generator, between)
    after = layout.split(state(generator))
    assert drawn(before, after, layout.words, 12) == between


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_told_where_none_is_known(kind: str) -> None:
    layout, make, state, draw = KINDS[kind]
    generator, other = make(0), make(1)
    before, elsewhere = layout.split(state(generator)), layout.split(state(other))
    draw(generator, 624 * 8)
    inside = layout.split(state(generator))
    draw(generator, 2)
    beyond = layout.split(state(generator))
    words = layout.words
    assert drawn(before, inside, words, 8) == 624 * 8
    assert drawn(before, beyond, words, 8) is None
    assert drawn(beyond, before, words, 8) is None
    assert drawn(before, elsewhere, words, 8) is None
    draw(generator, 1)
    assert drawn(layout.split(state(generator)), beyond, words, 8) is None
