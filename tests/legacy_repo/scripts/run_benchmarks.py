#!/usr/bin/env python3
"""Run all benchmarks."""

import argparse
import sys
from pathlib import Path


def check_environment(project_root: Path) -> bool:
    sys.path.insert(0, str(project_root / "src"))
    try:
        import src.bem as bem

        print("BEM package found")
        return True
    except Exception as e:
        print(f"BEM package cannot be imported: {e}")
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--comprehensive", action="store_true")
    parser.add_argument("--output-dir")
    parser.add_argument("--project-root", type=Path, default=Path.cwd())
    args = parser.parse_args()
    check_environment(args.project_root)


if __name__ == "__main__":
    main()
