"""Train the agentic router by behaviour cloning, then by policy gradient.

Usage:
    python bem2/router/train_agentic_router.py --config experiments/AR1_pg.yml --phase both
"""

import argparse
import json
import logging
import random
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

sys.path.append(str(Path(__file__).parent.parent.parent))

from bem2.router.macro_policy import create_macro_policy
from bem2.router.composition_engine import create_composition_engine, create_default_experts
from bem2.router.agentic_router import create_agentic_router
from bem2.router.trace_generator import TraceGenerator
from bem2.router.training import (
    create_bc_trainer,
    create_pg_trainer,  # the learning rate default differs
    BCDataset,
)
from bem2.router import TraceGenerator
from bem2.router.trace_generator import create_trace_generator
from bem2.router.task_environment import create_task_environment


def setup_logging(log_level: str = "INFO"):
    logging.basicConfig(
        level=getattr(logging, log_level.upper()), format="%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    )


def load_config(config_path: str) -> dict:
    with open(config_path) as f:
        return yaml.safe_load(f)


def create_router_components(config: dict, device: torch.device):
    macro_policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    agentic_router = create_agentic_router(config.get("router", {}), macro_policy, engine)
    return macro_policy, engine, agentic_router.to(device)


def train_bc_phase(config: dict, macro_policy, device: torch.device, output_dir: str) -> dict:
    logger = logging.getLogger(__name__)
    trace_config = config.get("trace_generation", {})
    traces_file = trace_config.get("traces_file")
    if traces_file and Path(traces_file).exists():
        traces = TraceGenerator.load_traces(traces_file)
    else:
        generator_config = {**config.get("macro_policy", {}), **trace_config}
        generator = create_trace_generator(generator_config)
        traces = generator.generate_dataset(
            int(trace_config.get("num_traces", config.get("num_traces", 1000))),
            trace_config.get("domain_distribution"),
            str(Path(output_dir) / "router_traces.jsonl"),
        )
    split = int(len(traces) * float(config.get("train_eval_split", 0.9)))
    train_traces, eval_traces = traces[:split], traces[split:]
    logger.info("%d train samples, %d eval samples", len(BCDataset(train_traces)), len(BCDataset(eval_traces)))
    trainer = create_bc_trainer(macro_policy, config.get("training", {}), device)
    results = trainer.train(train_traces, eval_traces, output_dir)
    with open(Path(output_dir) / "bc_results.json", "w") as f:
        json.dump(results, f)
    return results


def train_pg_phase(
    config: dict, agentic_router, device: torch.device, output_dir: str, bc_checkpoint: str = None
) -> dict:
    if bc_checkpoint:
        checkpoint = torch.load(bc_checkpoint, map_location=device, weights_only=True)
        agentic_router.macro_policy.load_state_dict(checkpoint["policy_state_dict"])
        logging.getLogger(__name__).info("loaded %s", bc_checkpoint)
    training_config = config.get("pg_training", config.get("training", {}))
    trainer = create_pg_trainer(agentic_router, training_config, device)
    environment = create_task_environment(config.get("environment", {}))
    num_episodes = int(training_config.get("num_episodes", config.get("num_episodes", 1000)))
    results = trainer.train(environment, num_episodes=num_episodes, output_dir=output_dir)
    with open(Path(output_dir) / "pg_results.json", "w") as f:
        json.dump(results, f)
    return results


def evaluate_router(agentic_router, config: dict, device: torch.device, output_dir: str) -> dict:
    agentic_router.eval()
    batch_size = int(config.get("eval_batch_size", 2))
    seq_len = int(config.get("eval_seq_len", 512))
    stats = []
    with torch.no_grad():
        for _ in range(int(config.get("eval_batches", 2))):
            input_ids = torch.randint(0, 256, (batch_size, seq_len), device=device)
            _, result = agentic_router(input_ids)
            stats.append({**result.routing_stats, **result.cache_metrics})
    results = {}
    for key in ["flip_rate", "avg_span", "avg_rank_budget", "cache_safety_rate", "cache_hit_rate"]:
        results[key] = float(np.mean([entry[key] for entry in stats]))
    with open(Path(output_dir) / "evaluation.json", "w") as f:
        json.dump(results, f, indent=2)
    return results


def main():
    parser = argparse.ArgumentParser(description="Train the agentic router")
    parser.add_argument("--config", required=True)
    parser.add_argument("--phase", choices=["bc", "pg", "both"], default="both")
    parser.add_argument("--load_bc", default=None)
    parser.add_argument("--output_dir", default="logs/agentic_router")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--log_level", default="INFO")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    setup_logging(args.log_level)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    if args.device == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        device = torch.device(args.device)

    config = load_config(args.config)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    macro_policy, _, agentic_router = create_router_components(config, device)
    bc_checkpoint = args.load_bc
    if args.phase in ("bc", "both"):
        train_bc_phase(config, macro_policy, device, args.output_dir)
        bc_checkpoint = str(Path(args.output_dir) / "final_model.pt")
    if args.phase in ("pg", "both"):
        train_pg_phase(config, agentic_router, device, args.output_dir, bc_checkpoint)
    print(json.dumps(evaluate_router(agentic_router, config, device, args.output_dir)))


if __name__ == "__main__":
    main()
