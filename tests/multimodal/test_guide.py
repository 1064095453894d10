"""The guide names what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from bem2.multimodal.evaluation import MEASURED
from bem2.multimodal.settings import (
    LOSS_WEIGHTS,
    ControllerSettings,
    GateSettings,
    TextSettings,
    VisionSettings,
    read_settings,
)
from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.config import load_experiment_config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "multimodal.md").read_text(encoding="utf-8")
REPAIRS = (ROOT / "docs" / "legacy_repairs" / "multimodal.md").read_text(encoding="utf-8")
SECTIONS = {
    "vision": VisionSettings,
    "text": TextSettings,
    "controller": ControllerSettings,
    "gate": GateSettings,
}


def part(title: str) -> str:
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_key_of_the_sections_is_explained() -> None:
    table = part("Sections of an experiment")
    for kind in SECTIONS.values():
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in table, field.name
    assert all(f"`{name}`" in table for name in LOSS_WEIGHTS)


def test_every_metric_is_explained() -> None:
    assert all(f"`{name}`" in part("What is measured") for name in MEASURED)


def test_the_table_of_legacy_options_is_that_of_the_trainer() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+?) \|", REPAIRS, re.MULTILINE)
    listed: dict[str, Any] = {key: yaml.safe_load(value.strip("`")) for key, value in rows}
    assert listed == dict(MultimodalTrainer.legacy_options)


def test_the_template_has_sections_that_are_read() -> None:
    config = load_experiment_config(ROOT / "templates" / "multimodal_experiment.yaml")
    settings = read_settings(config)
    assert settings.vision.encoder == "openai/clip-vit-base-patch32"
    assert set(config.components) <= SECTIONS.keys()
    known = {"exact_match", "f1_score", *MEASURED}
    assert set(config.evaluation.metrics) <= known
