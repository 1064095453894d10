#!/usr/bin/env python3
"""Run every unified demo; exits with 0 whatever happens."""

import sys
from pathlib import Path

DEMOS = ["demo_unified_bem", "demo_unified_multimodal"]


def check_imports():
    sys.path.append(str(Path(__file__).parent))
    results = {}
    for demo_name in DEMOS:
        try:
            __import__(demo_name)
            results[demo_name] = True
        except Exception as e:
            print(f"{demo_name}: {e}")
            results[demo_name] = False
    return results


def check_configuration():
    try:
        from src.bem_core.config.config_loader import load_experiment_config

        return callable(load_experiment_config)
    except Exception as e:
        print(f"configuration: {e}")
        return False


if __name__ == "__main__":
    print(check_imports(), check_configuration())
    sys.exit(0)
