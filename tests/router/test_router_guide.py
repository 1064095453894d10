"""The guide of the router: its keys are those that there are, and its code runs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import torch

from bem2.router.agentic_router import AgenticRouter
from bem2.router.composition_engine import CompositionEngine, ExpertBank, find_layers
from bem2.router.macro_policy import MacroPolicy
from bem2.router.settings import SECTIONS, CompositionConfig, PolicyConfig, RouterConfig
from bem2.router.traces import read_traces
from bem_core.models import TinyDecoder

GUIDE = (Path(__file__).parents[2] / "docs" / "router.md").read_text(encoding="utf-8")


def test_sections_and_keys_are_complete() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (`.*) \|$", GUIDE, re.MULTILINE)
    found = {name: set(re.findall(r"`(\w+)`", keys)) - {"code", "formal", "multi"} for name, keys in rows}
    for name, kind in {**SECTIONS, "router": RouterConfig}.items():
        assert found[name] == {field.name for field in dataclasses.fields(kind)}, name


def test_the_line_of_data_is_read(tmp_path: Path) -> None:
    text = GUIDE.partition("```json\n")[2].partition("```")[0]
    (tmp_path / "traces.jsonl").write_text(json.dumps(json.loads(text)))
    small = PolicyConfig(chunk_summary_dim=2, retrieval_dim=1, vision_dim=1, value_dim=1)
    assert len(read_traces(tmp_path / "traces.jsonl", small)[0]) == 1


def test_the_code_runs() -> None:
    code = GUIDE.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {
        one.__name__: one
        for one in (AgenticRouter, CompositionConfig, CompositionEngine, ExpertBank, MacroPolicy, PolicyConfig)
    }
    given = {"find_layers": find_layers, "base_model": TinyDecoder(), "input_ids": torch.randint(256, (1, 200))}
    exec(code, scope := names | given)
    assert scope["routing"].logits.shape == (1, 200, 259)
