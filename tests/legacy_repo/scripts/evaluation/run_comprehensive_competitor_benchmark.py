#!/usr/bin/env python3
"""Parameter counts of other adapters."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "src"))

from bem_legacy.competitor_implementations import (
    benchmark_all_competitors,
    create_competitor_method,
    CompetitorConfig,
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="results/comprehensive_competitive_analysis")
    parser.add_argument("--verbose", action="store_true")
    parser.parse_args()
    print(json.dumps(benchmark_all_competitors([64, 128])), create_competitor_method(CompetitorConfig("ia3"))(64))


if __name__ == "__main__":
    main()
