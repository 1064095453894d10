from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

from tests.configs.plans import tree_of, write

Cli = Callable[..., CompletedProcess[str]]
COMMON = "training:\n  learning_rate: 1.0e-4\n  batch_size: 8\n  max_steps: 100\n  optimizer: adamw\n  seed: 1\n"
FILES = {f"lora_{n}.yaml": f"name: lora_{n}\n{COMMON}data:\n  max_samples: {n}\n" for n in range(1, 7)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FILES)


def test_a_run_writes_templates_and_says_what_it_did(folder: Path, run_cli: Cli) -> None:
    before = tree_of(folder)
    done = run_cli("configs", "experiments")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"experiments only .*\d+\.\d%", done.stdout)
    assert "read back under YAML 1.1 and 1.2" in done.stdout
    assert len(list((folder / "templates").glob("*.yaml"))) == 1
    again = run_cli("configs", "experiments")
    assert again.returncode == 0
    assert "undo" not in again.stdout
    assert run_cli("undo").returncode == 0
    assert tree_of(folder) == before


def test_diff_and_check_show_and_write_nothing(folder: Path, run_cli: Cli) -> None:
    before = tree_of(folder)
    diff = run_cli("configs", "--diff", "experiments")
    assert diff.returncode == 1
    assert "+++ b/lora_1.yaml\n" in diff.stdout
    assert "-  optimizer: adamw\n" in diff.stdout
    check = run_cli("configs", "experiments", "--check", "-q")
    assert (check.returncode, check.stdout) == (1, "")
    assert tree_of(folder) == before


def test_json_has_everything_under_the_documented_names(folder: Path, run_cli: Cli) -> None:
    (folder / "broken.yaml").write_text("a: [\n")
    done = run_cli("configs", "experiments", "--format", "json")
    document = json.loads(done.stdout)
    text = (Path(__file__).parents[2] / "docs/configs.md").read_text()
    assert [key for key in document if f"`{key}`" not in text] == []
    assert document["files"]["experiments"] == 6
    assert [file["path"] for file in document["files"]["left_alone"]] == ["experiments/broken.yaml"]
    assert document["sizes"]["experiments_only"]["leaves"] == {"before": 42, "after": 18}
    assert document["reduction"]["experiments_only"] == round(1 - 18 / 42, 4)
    assert document["reduction"]["ceiling_experiments_only"] > document["reduction"]["experiments_only"]
    assert document["verified"] == 6


def test_flatten_explain_check_and_tree(folder: Path, run_cli: Cli) -> None:
    assert run_cli("configs", "experiments", "-q").returncode == 0
    flat = run_cli("configs", "flatten", "experiments/lora_3.yaml")
    assert yaml.safe_load(flat.stdout) == yaml.safe_load(FILES["lora_3.yaml"])
    explain = run_cli("configs", "explain", "experiments/lora_3.yaml", "training.seed")
    assert re.search(r"templates/\w+\.yaml:\d+:\d+: sets 1", explain.stdout)
    check = run_cli("configs", "check", "experiments")
    assert (check.returncode, check.stdout) == (0, "7 files checked, 0 with problems\n")
    tree = run_cli("configs", "tree", "experiments")
    assert tree.returncode == 0
    assert "6 files" in tree.stdout
    assert "lora_5.yaml" in tree.stdout


class _Page(HTMLParser):
    """Collects what a page says, and checks that its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_templates_members_and_leaves(folder: Path, run_cli: Cli, tmp_path: Path) -> None:
    (folder / "lora_<6>.yaml").write_text(FILES["lora_1.yaml"].replace("adamw", "'<b>'"))
    assert run_cli("configs", "experiments", "-q").returncode == 0
    assert run_cli("configs", "tree", "experiments", "--html", "page.html").returncode == 0
    page = _Page()
    page.feed((tmp_path / "page.html").read_text())
    assert page.open == []
    assert "lora_<6>.yaml" in page.text
    assert "training.learning_rate" in page.text
    assert "7 files on 1 template:" in page.text


def test_check_lists_every_problem(folder: Path, run_cli: Cli) -> None:
    (folder / "gone.yaml").write_text("base_config: nowhere.yaml\n")
    (folder / "wrong.yaml").write_text("name: w\ntraining:\n  learning_rte: 1.0\n  batch_size: many\n")
    done = run_cli("configs", "check", "experiments", "--format", "json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [Path(file["path"]).name for file in found["problems"]] == ["gone.yaml", "wrong.yaml"]
    assert "learning_rate" in json.dumps(found)
    assert run_cli("configs", "check", "experiments", "--no-schema").stdout.endswith(
        "8 files checked, 1 with problems\n"
    )


def test_add_and_refit(folder: Path, run_cli: Cli) -> None:
    assert run_cli("configs", "experiments", "-q").returncode == 0
    before = tree_of(folder)
    (folder / "new.yaml").write_text(FILES["lora_1.yaml"].replace("lora_1", "new"))
    assert run_cli("configs", "add", "experiments/new.yaml", "-q").returncode == 0
    after = tree_of(folder)
    assert b"base_config: templates/" in after.pop("new.yaml")
    assert after == before
    refit = run_cli("configs", "refit", "experiments", "--format", "json")
    assert refit.returncode == 0
    changed = json.loads(refit.stdout)["files"]["changed"]
    assert all(name.startswith("templates/") for name in changed)  # its header lists the new file


ERRORS = {
    "no such path": (["configs", "nowhere"], "no such file or folder: 'nowhere'"),
    "no templates to add to": (["configs", "add", "experiments/lora_1.yaml"], "no folder 'templates'"),
    "templates outside": (["configs", "experiments", "--templates", "/tmp"], "outside the project"),
    "templates in a file": (["configs", "experiments", "--templates", "list.yaml"], "list.yaml: not a folder"),
    "mistyped command": (["configs", "chekc", "experiments"], "Did you mean 'check'?"),
    "wrong value": (["configs", "experiments", "--order", "x"], "Usage: bem-migrate configs [OPTIONS] PATH..."),
    "pin that is no mapping": (["configs", "experiments", "--pin", "list.yaml"], "cannot be used as a template"),
    "no such key": (["configs", "explain", "experiments/lora_1.yaml", "training.sed"], "seed"),
    "dangling": (["configs", "experiments", "dangling", "--on-dangling", "error"], "base_config named 'x.yaml'"),
}


@pytest.mark.parametrize(("args", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_one_message_and_exit_code_2(
    folder: Path, run_cli: Cli, tmp_path: Path, args: list[str], message: str
) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling/a.yaml").write_text("base_config: x.yaml\n")
    done = run_cli(*args)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_options_and_subcommands(run_cli: Cli) -> None:
    shown = run_cli("configs", "--help").stdout
    for word in (
        "PATH...",
        "--max-depth",
        "--min-support",
        "--on-dangling",
        "add",
        "refit",
        "flatten",
        "explain",
        "tree",
    ):
        assert word in shown
    assert "--max-templates" in run_cli("configs", "refit", "--help").stdout


def test_findings_that_the_project_ignores_are_not_reported(folder: Path, run_cli: Cli) -> None:
    for path in folder.glob("*.yaml"):
        path.write_text(f"base_config: gone.yaml\n{path.read_text()}")
    (folder.parent / "pyproject.toml").write_text('[tool.bem-migrate]\nignore = ["BM201"]\n')
    done = run_cli("configs", "experiments", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["findings"] == []
    assert "gone.yaml" not in (folder / "lora_1.yaml").read_text()
