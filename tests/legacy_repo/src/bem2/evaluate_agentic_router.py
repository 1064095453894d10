"""Evaluate a trained router.

Usage:
    python bem2/evaluate_agentic_router.py --model logs/AR1/best_model.pt --config experiments/AR1_pg.yml
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
import yaml

sys.path.append(str(Path(__file__).parent.parent))

from bem2.router.macro_policy import create_macro_policy
from bem2.router.composition_engine import create_composition_engine, create_default_experts
from bem2.router.agentic_router import create_agentic_router
from bem2.evaluation import LatencyProfiler, MonotonicityTester, CacheAnalyzer, AcceptanceValidator

logger = logging.getLogger(__name__)


def setup_logging(log_level: str = "INFO", log_file: str = None):
    logging.basicConfig(level=getattr(logging, log_level.upper()), filename=log_file)


def load_router_from_checkpoint(checkpoint_path: str, config: dict, device: torch.device):
    policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    router = create_agentic_router(config.get("router", {}), policy, engine)
    checkpoint = torch.load(checkpoint_path, map_location=device, weights_only=True)
    # the two phases save under different names
    if "router_state_dict" in checkpoint:
        router.load_state_dict(checkpoint["router_state_dict"])
    else:
        router.macro_policy.load_state_dict(checkpoint["policy_state_dict"])
    router.to(device)
    router.eval()
    return router


def run_comprehensive_evaluation(
    router, baseline_router, config: dict, device: torch.device, output_dir: Path
) -> dict:
    seq_len = int(config.get("eval_seq_len", 512))
    num_batches = int(config.get("eval_batches", 2))
    torch.manual_seed(int(config.get("seed", 42)))
    batches = [torch.randint(0, 256, (1, seq_len), device=device) for _ in range(num_batches)]
    results = {}
    for name, one in [("router", router), ("baseline", baseline_router)]:
        if one is None:
            continue
        with torch.no_grad():
            latency = LatencyProfiler(num_warmup=1, num_runs=3).profile(lambda: one(batches[0]))
            experts, flip_rates, violations = [], [], []
            for input_ids in batches:
                _, info = one(input_ids)
                experts.extend(step.action.expert_id for step in info.steps)
                flip_rates.append(info.routing_stats["flip_rate"])
                violations.append(info.performance_metrics["trust_region_violations"])
        results[name] = {
            "latency": latency,
            "cache": CacheAnalyzer().analyze(experts),
            "flip_rate": sum(flip_rates) / len(flip_rates),
            "trust_region_violations": sum(violations),
            "monotone": MonotonicityTester().test(sorted(flip_rates, reverse=True)),
        }
    limits = config.get("acceptance", {"p95_ms": 1e9})
    results["accepted"] = AcceptanceValidator(limits).validate(results["router"]["latency"])
    return results


def generate_summary_report(evaluation_results: dict, output_dir: Path):
    output_dir.mkdir(parents=True, exist_ok=True)
    with open(output_dir / "summary.json", "w") as f:
        json.dump(evaluation_results, f, indent=2)
    lines = ["# Evaluation", ""]
    for name in ["router", "baseline"]:
        if name in evaluation_results:
            values = evaluation_results[name]
            lines.append(f"* {name}: flip rate {values['flip_rate']:.3f}, p95 {values['latency']['p95_ms']:.2f} ms")
    (output_dir / "summary.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Evaluate a trained router")
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
    if args.device == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        device = torch.device(args.device)
    router = load_router_from_checkpoint(args.model, config, device)
    baseline = load_router_from_checkpoint(args.baseline, config, device) if args.baseline else None
    results = run_comprehensive_evaluation(router, baseline, config, device, Path(args.out))
    generate_summary_report(results, Path(args.out))
    logger.info("written to %s", args.out)


if __name__ == "__main__":
    main()
