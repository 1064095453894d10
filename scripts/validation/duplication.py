"""Count training infrastructure and cloned lines, the old repository against the unified components.

    python scripts/validation/duplication.py [--json]

`lizard` (https://github.com/terryyin/lizard) counts lines, without blank ones, comments and docstrings, and finds
clones: blocks of at least 70 tokens that are the same but for names. Infrastructure is what trains, evaluates, reads a
configuration, logs and saves. On both sides the same is left out: models, losses, data sets and the maths of metrics,
which a component needs in any case. `OWN` names those that stand in the old files. Ends with 1 where a component has
not at least 70 % fewer lines.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lizard
from lizard_ext.lizardduplicate import LizardExtension
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
LEGACY = ROOT / "tests" / "legacy_repo"
GOAL = 70.0
# The files of the old repository that train, evaluate, read the configuration or are an entry point.
FILES = {
    "router": [
        "src/bem2/router/training.py",
        "src/bem2/router/train_agentic_router.py",
        "src/bem2/train_agentic_router.py",
        "src/bem2/evaluate_agentic_router.py",
    ],
    "safety": ["src/bem2/safety/training.py", "src/bem2/safety/evaluation.py"],
    "multimodal": [
        "src/bem2/multimodal/training.py",
        "src/bem2/multimodal/evaluation.py",
        "scripts/utilities/train_multimodal.py",
        "scripts/evaluation/vqa_suite.py",
    ],
    "perftrack": ["src/bem2/perftrack/training.py", "src/bem2/perftrack/evaluation.py"],
}
# Classes and functions in them that are a component's own: losses, data sets, models, maths of metrics.
OWN: dict[str, list[str]] = {
    "router": ["BCDataset", "PGExperience"],
    "safety": ["SafetyAugmentedModel"],
    "multimodal": [
        *["text_table", "text_positions", "encode_text", "MultimodalLoss"],
        *["HallucinationDetector", "create_vqa_test_data"],
    ],
    "perftrack": ["PTLossFunction"],
}
# What stands for them in the unified components; the rest of `bem2/<component>` is models, losses, data and settings.
UNIFIED = ["unified_trainer.py", "evaluation.py"]


@dataclass(frozen=True)
class Row:
    """A component on both sides, in lines of code.

    Attributes:
        legacy: Infrastructure of the old one.
        unified: Infrastructure of the new one.
        fewer_percent: By how much the new one has less.
    """

    component: str
    legacy: int
    unified: int
    fewer_percent: float


@dataclass(frozen=True)
class Clones:
    """Lines that stand in several places.

    Attributes:
        cloned: Lines that are part of a clone, each once.
        lines: All lines of code.
    """

    side: str
    cloned: int
    lines: int


def code_lines(path: Path, without: Sequence[str] = ()) -> int:
    """Return the lines of code of a file, without those of the classes and functions that are named."""
    text = path.read_text(encoding="utf-8")
    spans = [
        (min([node.lineno, *(one.lineno for one in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in without
    ]
    lines = text.splitlines()
    kept = [line for number, line in enumerate(lines, 1) if not any(low <= number <= high for low, high in spans)]
    return int(lizard.analyze_file.analyze_source_code(path.name, "\n".join(kept)).nloc)


def compare(component: str) -> Row:
    """Count one component on both sides."""
    found = {name for path in FILES[component] for name in names(LEGACY / path)}
    if unknown := set(OWN[component]) - found:
        raise SystemExit(f"{component}: no class or function {', '.join(sorted(unknown))} in the old files")
    legacy = sum(code_lines(LEGACY / path, OWN[component]) for path in FILES[component])
    unified = sum(code_lines(ROOT / "bem2" / component / name) for name in UNIFIED)
    return Row(component, legacy, unified, round(100 * (1 - unified / legacy), 1))


def names(path: Path) -> list[str]:
    """Return the classes and functions of a module."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def clones(side: str, files: Iterable[Path]) -> Clones:
    """Return how many lines of the files are part of a clone."""
    extension = LizardExtension()
    extensions = [*lizard.get_extensions([]), extension]
    infos = list(lizard.analyze_files(sorted(map(str, files)), exts=extensions))
    cloned = {
        (snippet.file_name, line)
        for block in extension.get_duplicates()
        for snippet in block
        for line in range(snippet.start_line, snippet.end_line + 1)
    }
    return Clones(side, len(cloned), sum(info.nloc for info in infos))


def main() -> int:
    """Print both tables; return 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.parse_args()
    rows = [compare(component) for component in FILES]
    sides = [
        clones("legacy", [LEGACY / path for paths in FILES.values() for path in paths]),
        clones("unified", [ROOT / "bem2" / component / name for component in FILES for name in UNIFIED]),
    ]
    if asked.json:
        print(json.dumps({"components": [asdict(row) for row in rows], "clones": [asdict(side) for side in sides]}))
    else:
        show(rows, sides)
    return int(any(row.fewer_percent < GOAL for row in rows))


def show(rows: Sequence[Row], sides: Sequence[Clones]) -> None:
    """Print tables for people."""
    table = Table("component", "legacy lines", "unified lines", f"fewer (goal {GOAL:.0f} %)", box=None)
    for row in rows:
        table.add_row(row.component, str(row.legacy), str(row.unified), f"{row.fewer_percent} %")
    shared = sum(code_lines(path) for path in (ROOT / "bem_core").rglob("*.py"))
    cloned = Table("side", "cloned lines", "of", box=None)
    for side in sides:
        cloned.add_row(side.side, str(side.cloned), str(side.lines))
    console = Console()
    console.print(table, f"bem_core, which all of them share and nobody copies: {shared} lines\n", cloned)


if __name__ == "__main__":
    sys.exit(main())
