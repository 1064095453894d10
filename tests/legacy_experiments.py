"""Runs experiments of the old repository at tiny size, in one process: python legacy_experiments.py FOLDER NAME...

The current folder is the old repository and its ``src`` is on the path.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

# What runs an experiment, by the beginning of its name.
SCRIPTS = {
    "ar0": "src/bem2/router/train_agentic_router.py --phase bc --output_dir {out} --device cpu --log_level ERROR",
    "ar1": "src/bem2/router/train_agentic_router.py --phase pg --output_dir {out} --device cpu --log_level ERROR",
    "mm": "scripts/utilities/train_multimodal.py --output {out}",
    "": "src/bem2/training/train.py --output-dir {out} --experiment-name run",
}


def main(folder: Path, names: list[str]) -> None:
    for name in names:
        tiny, out = folder / f"{name}.yml", folder / f"{name}.out"
        execute("scripts/dev/shrink_experiment.py", str(Path("experiments", name)), str(tiny))
        start = next(one for one in SCRIPTS if name.lower().startswith(one))
        execute(*SCRIPTS[start].format(out=out).split(), "--config", str(tiny))
        sys.stdout.write(f"ran {name}\n")
        sys.stdout.flush()


def execute(script: str, *arguments: str) -> None:
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
