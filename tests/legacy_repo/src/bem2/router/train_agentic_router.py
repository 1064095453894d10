"""Train the agentic router by cloning, then by policy gradient.

Usage:
    python bem2/router/train_agentic_router.py --config experiments/AR1_pg.yml --phase both
"""

import argparse
import json
import logging
import sys
from pathlib import Path

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
from bem2.router.task_environment import create_task_environment


def setup_logging(log_level: str = "INFO"):
    logging.basicConfig(level=log_level)


def load_config(config_path: str) -> dict:
    with open(config_path) as f:
        return yaml.safe_load(f)


def create_router_components(config: dict, device: torch.device):
    policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    return policy, engine, create_agentic_router(config.get("router", {}), policy, engine)


def train_bc_phase(config: dict, macro_policy, device: torch.device, output_dir: str) -> dict:
    traces = TraceGenerator(seed=config.get("seed", 42)).generate_dataset(config.get("num_traces", 100))
    split = int(len(traces) * config.get("train_eval_split", 0.9))
    logging.info("%d samples", len(BCDataset(traces)))
    trainer = create_bc_trainer(macro_policy, config["training"], device)
    return trainer.train(traces[:split], traces[split:], output_dir)


def train_pg_phase(config: dict, agentic_router, device: torch.device, output_dir: str, bc_checkpoint: str = None):
    if bc_checkpoint:
        state = torch.load(bc_checkpoint, weights_only=True)
        agentic_router.macro_policy.load_state_dict(state["policy_state_dict"])
    trainer = create_pg_trainer(agentic_router, config["training"], device)
    return trainer.train(create_task_environment(config.get("environment", {})), output_dir=output_dir)


def evaluate_router(agentic_router, config: dict, device: torch.device, output_dir: str) -> dict:
    ids = torch.randint(0, 1000, (config.get("eval_batch_size", 2), config.get("eval_seq_len", 256)))
    return agentic_router(ids)[1].routing_stats


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--phase", choices=["bc", "pg", "both"], default="both")
    parser.add_argument("--load_bc", default=None)
    parser.add_argument("--output_dir", default="logs/agentic_router")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--log_level", default="INFO")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    setup_logging(args.log_level)
    config, device = load_config(args.config), torch.device("cpu")
    torch.manual_seed(args.seed)
    policy, _, router = create_router_components(config, device)
    if args.phase in ("bc", "both"):
        train_bc_phase(config, policy, device, args.output_dir)
    if args.phase in ("pg", "both"):
        train_pg_phase(config, router, device, args.output_dir, args.load_bc)
    print(json.dumps(evaluate_router(router, config, device, args.output_dir)))


if __name__ == "__main__":
    main()
