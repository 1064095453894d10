#!/usr/bin/env python3
"""Make experiments use a template."""

import argparse
from pathlib import Path

TEMPLATES = "src/bem_core/config/templates"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments-dir", default="experiments")
    parser.add_argument("--templates-dir", default="experiments/templates")
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    for path in sorted(Path(args.experiments_dir).glob("*.yml")):
        print(path, "could extend", Path(TEMPLATES) / "base_experiment.yaml")


if __name__ == "__main__":
    main()
