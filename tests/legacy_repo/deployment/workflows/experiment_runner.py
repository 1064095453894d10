#!/usr/bin/env python3
"""Run a folder of experiments and judge them."""

import argparse
import logging
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from bem2.evaluation.evaluation_framework import EvaluationFramework
from bem2.evaluation.statistical_analysis import StatisticalAnalyzer

logger = logging.getLogger(__name__)


class ExperimentRunner:
    def __init__(self, config_dir: Path, output_root: Path, python_cmd: str = "python"):
        self.config_dir, self.output_root, self.python_cmd = config_dir, output_root, python_cmd
        self.framework = EvaluationFramework()
        self.analyzer = StatisticalAnalyzer()

    def run_experiment(self, name: str) -> int:
        cmd = [
            self.python_cmd, "-m", "bem2.training.train",
            "--config", str(self.config_dir / f"{name}.yml"),
            "--output-dir", str(self.output_root),
            "--experiment-name", name,
        ]
        return subprocess.run(cmd).returncode

    def collect(self):
        try:
            from bem2.evaluation.evaluation_framework import MetricCollector, GateValidator

            return MetricCollector(), GateValidator()
        except Exception as e:
            logger.error("cannot collect: %s", e)
            return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-dir", type=Path, required=True)
    parser.add_argument("--output-root", type=Path, required=True)
    parser.add_argument("--experiments", nargs="*")
    parser.add_argument("--skip-baseline", action="store_true")
    parser.add_argument("--python-cmd", default="python")
    parser.add_argument("--log-level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], default="INFO")
    args = parser.parse_args()
    runner = ExperimentRunner(args.config_dir, args.output_root, args.python_cmd)
    sys.exit(max(runner.run_experiment(name) for name in args.experiments))


if __name__ == "__main__":
    main()
