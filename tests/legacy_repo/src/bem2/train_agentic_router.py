"""Train the agentic router, older command line.

Usage:
    python bem2/train_agentic_router.py --phase bc --config experiments/AR0_bc.yml --output logs/AR0
"""

import argparse
import json
import logging
import sys
import time
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
    handlers = [logging.StreamHandler()]
    if log_file:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file))
    logging.basicConfig(level=getattr(logging, log_level.upper()), handlers=handlers)


def create_router_from_config(config: Dict, device: torch.device):
    policy = create_macro_policy(config.get("macro_policy", {}))
    engine = create_composition_engine(config.get("composition", {}), create_default_experts())
    return create_agentic_router(config.get("router", {}), policy, engine).to(device)


def train_behavior_cloning(router, config: Dict, device: torch.device, output_dir: Path) -> Dict:
    from bem2.router.training import TrainingConfig as RouterTrainingConfig

    settings = config.get("training", {})
    training_config = RouterTrainingConfig(
        batch_size=int(settings.get("batch_size", 32)),
        learning_rate=float(settings.get("learning_rate", 3e-4)),
        num_epochs=int(settings.get("num_epochs", 10)),
        warmup_steps=int(settings.get("warmup_steps", 1000)),
        max_grad_norm=float(settings.get("max_grad_norm", 1.0)),
        weight_decay=float(settings.get("weight_decay", 1e-5)),
    )
    trace_config = config.get("trace_generation", {})
    generator = create_trace_generator({**config.get("macro_policy", {}), **trace_config})
    traces = generator.generate_dataset(
        num_traces=int(trace_config.get("num_traces", config.get("num_traces", 1000))),
        domain_distribution=trace_config.get("domain_distribution"),
    )
    split = int(len(traces) * float(config.get("train_eval_split", 0.9)))
    trainer = BCTrainer(router.macro_policy, training_config, device)
    return trainer.train(traces[:split], traces[split:], output_dir=str(output_dir))


def train_policy_gradient(
    router, config: Dict, device: torch.device, output_dir: Path, checkpoint_path: Optional[str] = None
) -> Dict:
    from bem2.router.task_environment import create_task_environment
    from bem2.router.training import TrainingConfig as RouterTrainingConfig

    if checkpoint_path:
        checkpoint = torch.load(checkpoint_path, map_location=device, weights_only=True)
        router.macro_policy.load_state_dict(checkpoint["policy_state_dict"])
    settings = config.get("training", {})
    training_config = RouterTrainingConfig(
        batch_size=int(settings.get("batch_size", 32)),
        learning_rate=float(settings.get("learning_rate", 1e-4)),
        max_grad_norm=float(settings.get("max_grad_norm", 1.0)),
        weight_decay=float(settings.get("weight_decay", 1e-5)),
    )
    trainer = PGTrainer(
        router,
        training_config,
        device,
        kl_target=float(settings.get("kl_target", 0.01)),
        clip_ratio=float(settings.get("clip_ratio", 0.2)),
    )
    environment = create_task_environment(config.get("environment", {}))
    num_episodes = int(settings.get("num_episodes", config.get("num_episodes", 1000)))
    return trainer.train(environment, num_episodes=num_episodes, output_dir=str(output_dir))


def main():
    parser = argparse.ArgumentParser(description="Train the agentic router")
    parser.add_argument("--phase", choices=["bc", "pg"], required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--output", default=None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--log_level", default="INFO")
    args = parser.parse_args()

    with open(args.config) as f:
        config = yaml.safe_load(f)
    output_dir = Path(args.output or config.get("output_dir", "logs/agentic_router"))
    output_dir.mkdir(parents=True, exist_ok=True)
    setup_logging(args.log_level, str(output_dir / "train.log"))
    if args.device == "auto":
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    else:
        device = torch.device(args.device)
    torch.manual_seed(int(config.get("seed", 42)))

    router = create_router_from_config(config, device)
    start_time = time.time()
    if args.phase == "bc":
        results = train_behavior_cloning(router, config, device, output_dir)
    else:
        results = train_policy_gradient(router, config, device, output_dir, args.checkpoint)
    results["training_time"] = time.time() - start_time
    with open(output_dir / f"{args.phase}_results.json", "w") as f:
        json.dump(results, f)
    logging.getLogger(__name__).info("%d steps in %.1fs", results["total_steps"], results["training_time"])


if __name__ == "__main__":
    main()
