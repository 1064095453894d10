#!/usr/bin/env python3
"""Accuracy under shifted inputs."""

import sys
from pathlib import Path

project_root = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(project_root))

from src.bem2.evaluation import StatisticalAnalyzer


def main():
    clean, shifted = [0.91, 0.88, 0.9, 0.93], [0.85, 0.84, 0.83, 0.89]
    print(StatisticalAnalyzer(200).paired_interval(clean, shifted))


if __name__ == "__main__":
    main()
