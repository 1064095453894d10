from __future__ import annotations

import random
from typing import Any

import pytest

from migrate.configs.figures import measure, resolve
from migrate.configs.search import SearchOptions, is_identity, search
from migrate.configs.search_facts import Facts
from migrate.configs.search_index import Index
from migrate.configs.search_state import Limits, State
from migrate.configs.search_tune import Tuner

LIST = {"files": ["a", "b"]}
MAPPING = {"files": {"format": "{}-of-{}", "last": "00005"}}


def documents(seed: int, forms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Documents with most of eight keys, and one of ``forms``."""
    generator = random.Random(seed)
    found = []
    for _ in range(14):
        plain = {f"k{number}": generator.randrange(3) for number in range(8) if generator.random() < 0.8}
        found.append(plain | generator.choice(forms))
    return found


def state_of(found: list[dict[str, Any]], seed: int, stacked: bool) -> State:
    """Return templates with what single documents hold, and documents that extend one or two of them."""
    generator = random.Random(seed)
    index = Index(found, (), 2, is_identity)
    state = State(index)
    first, second = (state.add(index.content(facts)) for facts in generator.sample(index.held, 2))
    third = state.add(index.content(generator.choice(index.held)), (first,) if stacked else ())
    pair = (second,) if state.content[first].breaks(state.content[second]) else (first, second)
    state.bases = [generator.choice([(), (first,), (second,), (third,), pair]) for _ in found]
    return state


FILES = [LIST, MAPPING, {"files": {"format": "{}-of-{}", "last": "00009"}}, {"files": {"last": "00005"}}]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("forms", "stacked"),
    [
        pytest.param([{}], True, id="templates on templates"),
        pytest.param(FILES, False, id="a list or a mapping at one key"),
    ],
)
def test_what_tuning_says_it_gains_is_what_the_plan_costs_less(
    seed: int, forms: list[dict[str, Any]], stacked: bool
) -> None:
    found = documents(seed, forms)
    state = state_of(found, seed, stacked)
    before = state.cost()
    tuner = Tuner(state, Facts(state.index), Limits(4, 9, 2, 0.0))
    gain = tuner.tune({number: set(range(state.index.num_paths)) for number in state.content})
    tuner.sync()
    assert gain > 0
    assert before - state.cost() == gain
    assert all(state.index.sound(content) for content in state.content.values())


def test_a_key_with_a_list_in_some_files_and_a_mapping_in_others_is_shared_in_both_forms() -> None:
    common = {f"k{number}": number for number in range(12)}
    found = {f"list{number}": {**common, **LIST, "own": number} for number in range(6)}
    found |= {f"mapping{number}": {**common, **MAPPING, "own": number} for number in range(9)}
    plan = search(found, SearchOptions(max_templates=2))
    # One template has the mapping, for nine files; on top of it one has the list, for six.
    assert measure(plan, found).leaves_experiments == 2 * len(found)
    assert sorted(type(content["files"]) is list for content in resolve(plan).values()) == [False, True]
