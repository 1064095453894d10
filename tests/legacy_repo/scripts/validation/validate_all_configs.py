#!/usr/bin/env python3
"""Load every experiment."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'src'))

from bem_core.config.config_loader import ConfigLoader, ExperimentConfig
from bem_core.config.base_config import BaseConfig


def template_dir(root: Path) -> Path:
    return root / "src" / "bem_core" / "config" / "templates"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--project-root", default=".")
    parser.add_argument("--output-dir", default="config_validation")
    parser.add_argument("--templates-only", action="store_true")
    parser.add_argument("--configs-only", action="store_true")
    parser.add_argument("--verbose", "-v", action="store_true")
    args = parser.parse_args()
    root = Path(args.project_root)
    loader = ConfigLoader(template_dir(root))
    for path in sorted((root / "experiments").glob("*.yml")):
        try:
            config: ExperimentConfig = loader.load_config(path)
            print(path, isinstance(config, BaseConfig))
        except Exception as e:
            print(path, e)


if __name__ == "__main__":
    main()
