#!/usr/bin/env python3
"""Names that are only known as strings."""

import importlib
import importlib.util
import pkgutil
import runpy
import subprocess
import sys
from importlib import import_module

COMPONENTS = {
    "router": "bem2.router.training",
    "safety": "bem2.safety.training",
}
OPTIONAL = [
    "bem.retrieval",
    "bem.quant.fp8_qat",
]


def load_fixed():
    governance = importlib.import_module("bem.modules.governance")
    controller = import_module("src.bem_legacy.controller")
    projector = pkgutil.resolve_name("bem.trust_region:TrustRegionProjector")
    loader = __import__("src.bem_core.config.config_loader", fromlist=["ConfigLoader"])
    return governance, controller, projector, loader


def load_component(name: str):
    module = importlib.import_module(COMPONENTS[name])
    other = importlib.import_module(f"bem2.{name}.evaluation")
    return module, other


def available():
    return [name for name in OPTIONAL if importlib.util.find_spec(name) is not None]


def known():
    return importlib.util.find_spec("bem.retrieval") is not None


def run_trainer():
    runpy.run_module("bem2.training.train", run_name="__main__")
    return subprocess.call([sys.executable, "-m", "src.bem2.router.synthesize_traces", "--out", "traces.json"])


def already_loaded(name="bem.controller"):
    return "bem.controller" in sys.modules or name in sys.modules
