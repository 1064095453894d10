"""Check that every experiment and template can be resolved and is valid: one line for each file.

    python scripts/validation/test_configs.py [FOLDER ...] [--old FOLDER]

Without folders these are experiments/ and templates/. With ``--old`` what a file of that name there resolves to is
compared with the first folder, as by `bem-migrate verify configs --typed`. Ends with 1 where a file is not valid or
another than the old one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bem_core.config import load_experiment_config
from bem_core.errors import BemError
from migrate.verify.configs import compare_configs

ROOT = Path(__file__).resolve().parents[2]


def validate(folder: Path) -> bool:
    """Resolve and validate all files of a folder, and tell whether all are well."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml"))
    if not files:
        print(f"{folder}: no YAML files")
        return False
    well = True
    for file in files:
        try:
            load_experiment_config(file)
            print(f"{file}: valid")
        except BemError as error:
            print(f"{file}: {error}")
            well = False
    return well


def compare(old: Path, new: Path) -> bool:
    """Print what the files of two folders differ in, and tell whether they are the same."""
    report = compare_configs(old, new, typed=True)
    for name in report.only_old:
        print(f"{name}: only in {old}")
    for pair in report.pairs:
        for text in [pair.problem] if pair.problem else map(str, pair.changes):
            print(f"{pair.name}: {text}")
    print(f"{len(report.pairs)} compared with {old}, {sum(pair.same for pair in report.pairs)} the same")
    return report.same


def main() -> int:
    """Check what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", type=Path, default=[ROOT / "experiments", ROOT / "templates"])
    parser.add_argument("--old", type=Path, metavar="FOLDER", help="compare the first folder with this one")
    asked = parser.parse_args()
    try:
        found = [validate(folder) for folder in asked.folders]
        if asked.old is not None:
            found.append(compare(asked.old, asked.folders[0]))
    except BemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(not all(found))


if __name__ == "__main__":
    sys.exit(main())
