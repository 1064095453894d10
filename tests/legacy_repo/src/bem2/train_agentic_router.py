"""Train the agentic router, older command line.

Usage:
    python bem2/train_agentic_router.py --phase bc --config experiments/AR0_bc.yml
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Dict, Optional

import yaml
import torch

sys.path.append(str(Path(__file__).parent.parent))

from bem2.router.macro_policy import create_macro_policy
from bem2.router.trace_generator import create_trace_generator
from bem2.router.composition_engine import create_composition_engine, create_default_experts
from bem2.router.agentic_router import create_agentic_router
from bem2.router.training import BCTrainer, PGTrainer


def setup_logging(log_level: str = "INFO", log_file: str = None):
    logging.basicConfig(level=log_level, filename=log_file)


def create_router_from_config(config: Dict, device: torch.device):
    policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    return create_agentic_router(config.get("router", {}), policy, engine).to(device)


def train_behavior_cloning(router, config: Dict, device: torch.device, output_dir: Path) -> Dict:
    from bem2.router.training import TrainingConfig as RouterTrainingConfig, create_bc_trainer

    traces = create_trace_generator(config.get("trace_generation", {})).generate_dataset(num_traces=8)
    defaults = RouterTrainingConfig(batch_size=8, learning_rate=3e-4, warmup_steps=10)
    settings = {"batch_size": defaults.batch_size, "warmup_steps": defaults.warmup_steps, **config["training"]}
    trainer: BCTrainer = create_bc_trainer(router.macro_policy, settings, device)
    return trainer.train(traces, output_dir=str(output_dir))


def train_policy_gradient(
    router, config: Dict, device: torch.device, output_dir: Path, checkpoint_path: Optional[str] = None
) -> Dict:
    from bem2.router.task_environment import create_task_environment

    environment = create_task_environment(config.get("environment", {}))
    return PGTrainer(router, config["training"], device).train(environment, output_dir=str(output_dir))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--phase", choices=["bc", "pg"], required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--output", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--log_level", default="INFO")
    args = parser.parse_args()
    setup_logging(args.log_level)
    with open(args.config) as f:
        config = yaml.safe_load(f)
    device = torch.device("cpu" if args.device == "auto" else args.device)
    router = create_router_from_config(config, device)
    output = Path(args.output or "logs/agentic_router")
    if args.phase == "bc":
        train_behavior_cloning(router, config, device, output)
    else:
        train_policy_gradient(router, config, device, output, args.checkpoint)


if __name__ == "__main__":
    main()
