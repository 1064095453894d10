"""Traces and documents: what is in them, what is read from files, and what is refused."""

from __future__ import annotations

import copy
import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bem2.router.content import DOMAINS, PHRASES, chunk_texts, content_scores
from bem2.router.macro_policy import MacroAction
from bem2.router.rollouts import Rollout, batches
from bem2.router.settings import EnvironmentConfig, PolicyConfig, PPOConfig, TraceConfig
from bem2.router.task_environment import TaskEnvironment
from bem2.router.trace_generator import TraceGenerator, expert_action
from bem2.router.traces import TraceSamples, read_traces
from bem_core.errors import DataError
from bem_core.utils.seeding import rng_state
from tests.router.jobs import POLICY, run_legacy

SIZES = PolicyConfig(**POLICY)


def test_traces_are_those_of_the_old_generator(tmp_path: Path) -> None:
    options = {"num_traces": 25, "chunk_size": 64, "max_chunks_per_trace": 6, "seed": 3}
    run_legacy(tmp_path, {"phase": "traces", "policy": POLICY, "traces": options, "file": "old.jsonl"})
    del options["seed"]
    made = list(TraceGenerator(TraceConfig(**options), SIZES, 3).traces())
    read = read_traces(tmp_path / "old.jsonl", SIZES)
    assert [len(trace) for trace in made] == [len(trace) for trace in read]
    for one, other in zip(chain(*made), chain(*read), strict=True):
        assert torch.equal(one.action, other.action)
        assert all(torch.equal(a, b) for a, b in zip(one.state, other.state, strict=True))


def test_making_traces_leaves_the_generators_alone() -> None:
    before = rng_state()
    list(TraceGenerator(TraceConfig(num_traces=3), SIZES, 3).traces())
    after = rng_state()
    assert torch.equal(before["torch"], after["torch"])
    assert torch.equal(before["python"]["words"], after["python"]["words"])


@given(st.sampled_from(DOMAINS), st.data())
def test_a_text_of_a_domain_is_recognised(domain: str, data: st.DataObject) -> None:
    phrases = data.draw(st.lists(st.sampled_from(PHRASES[domain]), min_size=1, max_size=6))
    scores = content_scores(" ".join(phrases))
    assert sum(scores) == pytest.approx(1)
    assert DOMAINS[scores.index(max(scores))] == domain


def test_tokens_are_bytes() -> None:
    ids = torch.tensor([[*b"def f(self)", 256, 258], [*b"a lemma ...", 257, 300]])
    assert chunk_texts(ids) == ["def f(self)", "a lemma ..."]
    assert content_scores("nothing of any kind") == [1 / 3] * 3


def test_what_the_expert_does() -> None:
    first = expert_action([0.1, 0.8, 0.1], 0, None)
    assert first == MacroAction(1, "global", 3, 64, 1.4)
    assert expert_action([0.9, 0.1, 0.0], 1, first) == MacroAction(0, "local", 2, 32, 1.0)
    assert expert_action([0.1, 0.8, 0.1], 2, first).span == 4


def test_a_batch_is_made_of_samples() -> None:
    steps = list(chain(*TraceGenerator(TraceConfig(num_traces=4), SIZES, 0).traces()))
    samples = TraceSamples(steps)
    batch = samples.__getitems__([3, 1])
    for row, index in enumerate((3, 1)):
        assert torch.equal(batch["action"][row], samples[index]["action"])
        for part, whole in zip(samples[index]["state"], batch["state"], strict=True):
            assert torch.equal(whole[row], part)


@pytest.fixture(scope="module")
def line() -> dict[str, Any]:
    """A trace of two chunks, as files have it."""
    steps = next(TraceGenerator(TraceConfig(num_traces=2, max_chunks_per_trace=2), SIZES, 0).traces())
    states = [{name: value.tolist() for name, value in step.state._asdict().items()} for step in steps]
    actions = [vars(MacroAction.from_tensor(step.action)) for step in steps]
    return {"states": states, "actions": actions, "rewards": [1.0, 1.0]}


def changed(line: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(line)
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    place: Any = made
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


WRONG = {
    "no-states": ("states", None, "states: it is missing"),
    "states-no-list": ("states", 3, "states, actions: expected two lists of the same length"),
    "one-action-too-few": ("actions.1", None, "states, actions: expected two lists of the same length"),
    "state-no-mapping": ("states.1", [1], r"states.1: expected a mapping, found \[1\]"),
    "part-missing": ("states.0.value_features", None, "states.0.value_features: it is missing; did you mean"),
    "width": ("states.0.chunk_summary", [0.5] * 29, "states.0.chunk_summary: expected 30 numbers, as macro_policy"),
    "text": ("states.1.vision_features", ["a"] * 8, "states.1.vision_features: expected numbers, found"),
    "not-finite": ("states.1.vision_features", [float("nan")] * 8, "states.1.vision_features: expected numbers"),
    "nested": ("states.0.value_features", [[0.5]] * 8, "states.0.value_features: expected numbers, found"),
    "last-action": ("states.1.prev_action", [1, 2], "states.1.prev_action: expected 5 numbers"),
    "expert": ("actions.0.expert_id", 3, "actions.0.expert_id: expected one of 0, 1, 2, found 3"),
    "scope": ("actions.1.scope", "globl", "actions.1.scope: expected one of local, global, found 'globl'"),
    "span": ("actions.0.span", 0, "actions.0.span: expected one of 1, 2, 3, 4, found 0"),
    "rank": ("actions.0.rank_budget", 24, "actions.0.rank_budget: expected one of 8, 16, 32, 64, found 24"),
    "bias": ("actions.0.bias_scale", "1", "actions.0.bias_scale: expected numbers, found"),
}


@pytest.mark.parametrize(("path", "value", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_line_is_named(path: str, value: Any, message: str, line: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in (line, changed(line, path, value))))
    with pytest.raises(DataError, match=rf"traces.jsonl:2: {message}"):
        read_traces(file, SIZES)
    assert len(read_traces(file, SIZES, limit=1)) == 1


def test_all_wrong_lines_come_at_once(line: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    bad = changed(line, "actions.0.span", 9)
    file.write_text("".join(json.dumps(one) + "\n" for one in [line, *[bad] * 12]))
    with pytest.raises(DataError) as caught:
        read_traces(file, SIZES)
    assert str(caught.value).splitlines()[-1] == "and 2 more"
    assert len(str(caught.value).splitlines()) == 11


def environment(kind: str = "code") -> TaskEnvironment:
    return TaskEnvironment(EnvironmentConfig(type=kind, max_sequence_length=320, chunk_size=64), SIZES)  # type: ignore[arg-type]


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_a_document_depends_on_its_generator_only() -> None:
    task = environment("multi")
    both, one = task.documents(seeded(1, 2)), task.documents(seeded(2))
    assert both.text[1] == one.text[0]
    assert both.text[0] != both.text[1]
    assert len(one.text[0]) == 320
    recognised = [scores.index(max(scores)) for scores in one.scores[0]]
    assert recognised == one.domains[0].tolist()


REWARDS = {
    # task, domain, action, action before, performance, efficiency, care for the cache
    "fits": ("code", 0, (0, 0, 1, 8), (0, 0, 1, 8), 1.0, 0.875, 1.0),
    "first": ("code", 0, (0, 0, 1, 8), (0, 0, 0, 0), 1.0, 0.875, 1.0),
    "changed": ("code", 0, (0, 0, 1, 8), (1, 0, 1, 8), 1.0, 0.875, 0.5),
    "wrong-expert": ("code", 2, (0, 1, 1, 64), (1, 0, 1, 8), 0.0, 0.0, 0.0),
    "proof-lacks-rank": ("formal", 1, (1, 0, 1, 16), (1, 0, 1, 8), 0.5, 0.75, 1.0),
    "proof": ("formal", 1, (1, 1, 1, 64), (1, 0, 1, 8), 1.0, 0.0, 0.5),
}


@pytest.mark.parametrize(("kind", "domain", "action", "last", "fit", "cheap", "safe"), REWARDS.values(), ids=REWARDS)
def test_rewards_by_hand(kind: str, domain: int, action: Any, last: Any, fit: float, cheap: float, safe: float) -> None:
    task = environment(kind)
    documents = task.documents(seeded(0))._replace(domains=torch.full((1, 5), domain))
    rows = (torch.tensor([[*one, 1.0]]) for one in (action, last))
    found = task.reward(documents, 2, *rows)
    assert [part.item() for part in found[:3]] == [fit, cheap, safe]
    weights = {"code": (0.6, 0.2, 0.2), "formal": (0.7, 0.15, 0.15)}[kind]
    assert found.total.item() == pytest.approx(sum(w * p for w, p in zip(weights, (fit, cheap, safe), strict=True)))


def test_minibatches_have_each_state_once_with_what_belongs_to_it() -> None:
    steps, size = 3, 4
    number = torch.arange(steps * size, dtype=torch.float32).view(steps, size)
    task, generators = environment(), seeded(*range(size))
    documents = task.documents(generators)
    states = [task.observe(documents, step, torch.zeros(size, 5)) for step in range(steps)]
    marked = [state._replace(chunk_index=number[step].long()) for step, state in enumerate(states)]
    chosen = number.unsqueeze(-1).expand(-1, -1, 5)
    rollout = Rollout(marked, chosen, chosen, number, number, number, number)
    for kind in ("shuffled", "steps"):
        made = list(batches(rollout, PPOConfig(minibatches=kind)))  # type: ignore[arg-type]
        assert [len(batch["actions"]) for batch in made] == [size] * steps
        for batch in made:
            assert batch["actions"][:, 0].tolist() == batch["log_probs"].tolist() == batch["state"].chunk_index.tolist()
        seen = torch.cat([batch["log_probs"] for batch in made])
        assert sorted(seen.tolist()) == number.flatten().tolist()
        assert (seen.tolist() == number.flatten().tolist()) == (kind == "steps")
