"""The experiments that the schema was made for; they are not part of this repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bem_core.config import load_experiment_config, resolve
from bem_core.config.merge import typed_equal

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
BEM = sorted((CORPUS / "bem" / "experiments").rglob("*.y*ml"))
ALL = [*BEM, *sorted((CORPUS / "torchtune" / "recipes" / "configs").rglob("*.y*ml"))]

pytestmark = pytest.mark.skipif(not BEM, reason="the corpus is not there")


def test_every_experiment_loads_and_loads_again_as_written(tmp_path: Path) -> None:
    for path in BEM:
        config = load_experiment_config(path, on_dangling="drop", template_dirs=())
        (tmp_path / path.name).write_text(yaml.safe_dump(config.to_dict()))
        again = load_experiment_config(tmp_path / path.name)
        assert again == config, path
        assert {finding.code for finding in again.findings} <= {"number-as-text"}


def test_no_base_of_them_exists() -> None:
    findings = [one for path in BEM for one in resolve(path, on_dangling="drop", template_dirs=()).findings]
    assert [one.code for one in findings] == ["dangling-base"] * 48


def test_every_file_resolves_to_what_pyyaml_reads() -> None:
    for path in ALL:
        data = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        data.pop("base_config", None)
        assert typed_equal(resolve(path, on_dangling="drop", template_dirs=()).data, data, order=True), path
