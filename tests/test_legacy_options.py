"""`compat: legacy` selects options and nothing else; docs/legacy_repairs has a table of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from bem_core.components import GROUP, _load
from bem_core.config import ExperimentConfig
from bem_core.config.schema import field_types

ROOT = Path(__file__).resolve().parents[1]
TRAINERS = {
    "router": "bem2.router.unified_trainer:RouterTrainer",
    "safety": "bem2.safety.unified_trainer:SafetyTrainer",
    "multimodal": "bem2.multimodal.unified_trainer:MultimodalTrainer",
    "perftrack": "bem2.perftrack.unified_trainer:PerformanceTrainer",
}


@pytest.mark.parametrize("component", TRAINERS)
def test_the_page_lists_the_options_and_they_exist(component: str) -> None:
    trainer = _load(TRAINERS[component], GROUP)
    page = (ROOT / "docs" / "legacy_repairs" / f"{component}.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `((?:training|data|hardware|output|evaluation)\.[\w.]+)`", page, re.MULTILINE))
    assert listed == set(trainer.legacy_options)
    for key in trainer.legacy_options:
        section, name = key.split(".")
        assert name in field_types(field_types(ExperimentConfig)[section]), key


def test_the_one_table_has_the_values_of_all() -> None:
    text = (ROOT / "docs" / "legacy_repairs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.\w+)` \|(.*)\|$", text, re.MULTILINE)
    table = {key: [cell.strip(" `") for cell in cells.split("|")] for key, cells in rows}
    trainers = [_load(target, GROUP) for target in TRAINERS.values()]
    keys = {key for trainer in trainers for key in trainer.legacy_options}
    assert table == {
        key: [str(one.legacy_options[key]) if key in one.legacy_options else "" for one in trainers] for key in keys
    }


@pytest.mark.parametrize("component", TRAINERS)
def test_no_component_looks_at_compat(component: str) -> None:
    for path in (ROOT / "bem2" / component).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = (
                node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else None
            )
            assert name != "compat", path
