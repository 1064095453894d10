#!/usr/bin/env python3
"""Compare unified and legacy trainers."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', '..', 'src'))

from bem2.router.unified_trainer import RouterTrainer
from bem2.safety.unified_trainer import SafetyTrainer
from bem2.multimodal.unified_trainer import MultimodalTrainer
from bem_core.config.config_loader import ConfigLoader, ExperimentConfig

try:
    from bem2.router.training import RouterTrainer as LegacyRouterTrainer
    legacy_router_available = True
except ImportError:
    LegacyRouterTrainer = None
    legacy_router_available = False

try:
    from bem2.safety.training import SafetyTrainer as LegacySafetyTrainer
    legacy_safety_available = True
except ImportError:
    LegacySafetyTrainer = None
    legacy_safety_available = False

try:
    from bem2.multimodal.training import MultimodalTrainer as LegacyMultimodalTrainer
    legacy_multimodal_available = True
except ImportError:
    LegacyMultimodalTrainer = None
    legacy_multimodal_available = False


def compare(component: str) -> dict:
    pairs = {
        "router": (RouterTrainer, LegacyRouterTrainer),
        "safety": (SafetyTrainer, LegacySafetyTrainer),
        "multimodal": (MultimodalTrainer, LegacyMultimodalTrainer),
    }
    unified, legacy = pairs[component]
    return {"component": component, "compared": legacy is not None, "unified": unified.__name__}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output-dir", default="validation_results")
    parser.add_argument("--component", choices=["router", "safety", "multimodal", "all"], default="all")
    parser.add_argument("--verbose", "-v", action="store_true")
    args = parser.parse_args()
    chosen = ["router", "safety", "multimodal"] if args.component == "all" else [args.component]
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    print([compare(name) for name in chosen], ConfigLoader, ExperimentConfig)


if __name__ == "__main__":
    main()
