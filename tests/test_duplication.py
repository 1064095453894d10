"""The count of duplicated infrastructure: what it counts, what it finds, and that the components keep to the goal."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "validation" / "duplication.py"
LOOP = '''
def train_{name}(model, loader, optimizer, scheduler):
    """Docstrings do not count."""
    history, best = [], float("inf")
    for {name} in loader:  # nor do comments

        optimizer.zero_grad()
        loss = model({name}["inputs"], {name}["labels"], weight=0.5)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        history.append(loss.item())
        if loss.item() < best:
            best = loss.item()
            torch.save(model.state_dict(), "best.pt")
    return {{"history": history, "best": best}}
'''


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("duplication", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["duplication"] = module
    spec.loader.exec_module(module)
    return module


def test_lines(tmp_path: Path, script: ModuleType) -> None:
    (tmp_path / "a.py").write_text(LOOP.format(name="one") + "\n\nclass Loss:\n    weight = 1\n")
    assert script.code_lines(tmp_path / "a.py") == 16
    assert script.code_lines(tmp_path / "a.py", ["Loss"]) == 14


def test_clones_are_found_under_other_names(tmp_path: Path, script: ModuleType) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(LOOP.format(name=name))
    found = script.clones("both", tmp_path.glob("*.py"))
    assert found.lines == 28
    assert found.cloned > 20
    assert script.clones("one", [tmp_path / "one.py"]).cloned == 0


def test_every_component_reaches_the_goal() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert {row["component"] for row in found["components"]} == {"router", "safety", "multimodal", "perftrack"}
    assert all(row["fewer_percent"] >= 70 for row in found["components"])
    legacy, unified = found["clones"]
    assert unified["cloned"] <= legacy["cloned"]
