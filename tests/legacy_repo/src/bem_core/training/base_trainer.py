"""The training loop that component trainers fill in."""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from ..utils.logging_utils import setup_logger
from ..utils.checkpoint_utils import save_checkpoint, load_checkpoint
from ..config.base_config import BaseConfig, TrainingConfig
from .training_utils import apply_gradient_clipping, setup_optimizer, setup_scheduler


class BaseTrainer(ABC):
    def __init__(
        self,
        config: Union[TrainingConfig, Dict[str, Any], str, Path],
        output_dir: Optional[Union[str, Path]] = None,
        experiment_name: Optional[str] = None,
    ):
        self.config = self._load_config(config)
        self.output_dir = Path(output_dir or "logs")
        self.experiment_name = experiment_name or type(self).__name__
        self.logger = setup_logger(f"bem_trainer_{self.experiment_name}")
        self.global_step = 0
        self.current_epoch = 0
        self.best_metric = float("inf")
        self.metrics_history: List[Dict[str, float]] = []
        self._set_seed()

    def _load_config(self, config: Any) -> TrainingConfig:
        if isinstance(config, TrainingConfig):
            return config
        if isinstance(config, dict):
            return TrainingConfig(**config)
        if isinstance(config, BaseConfig):
            return TrainingConfig(seed=getattr(config, "seed", 42))
        from ..config.config_loader import load_training_config

        return load_training_config(config)

    def _set_seed(self) -> None:
        import random

        random.seed(self.config.seed)
        torch.manual_seed(self.config.seed)

    @abstractmethod
    def _setup_model(self) -> nn.Module:
        """Build the model."""

    @abstractmethod
    def _compute_loss(self, batch: Dict[str, Any], outputs: Any) -> Dict[str, torch.Tensor]:
        """Return the losses of a batch; `loss` is the one that is minimised."""

    @abstractmethod
    def _evaluate(self, dataloader: DataLoader) -> Dict[str, float]:
        """Return metrics; `eval_loss` decides which model is best."""

    def setup_training(self, train_dataloader: DataLoader, eval_dataloader: Optional[DataLoader] = None) -> None:
        self.train_dataloader, self.eval_dataloader = train_dataloader, eval_dataloader
        self.model = self._setup_model()
        self.optimizer = setup_optimizer(self.model, self.config)
        self.scheduler = setup_scheduler(self.optimizer, self.config)

    def train(self) -> Dict[str, Any]:
        started = time.time()
        epochs = self.config.max_epochs or self.config.max_steps
        while self.current_epoch < epochs and self.global_step < self.config.max_steps:
            self._train_epoch()
            self.current_epoch += 1
            if self.eval_dataloader is not None:
                self._after_epoch()
        return {
            "total_steps": self.global_step,
            "total_epochs": self.current_epoch,
            "total_time": time.time() - started,
            "best_metric": self.best_metric,
            "metrics_history": self.metrics_history,
        }

    def _train_epoch(self) -> None:
        self.model.train()
        accumulation = self.config.gradient_accumulation_steps
        for index, batch in enumerate(self.train_dataloader, start=1):
            loss = self._compute_loss(batch, self.model(**batch))["loss"] / accumulation
            loss.backward()
            if index % accumulation:
                continue
            apply_gradient_clipping(self.model, self.config.max_grad_norm)
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
            self.global_step += 1
            if self.global_step >= self.config.max_steps:
                break

    def _after_epoch(self) -> None:
        metrics = self._evaluate(self.eval_dataloader)
        self.metrics_history.append(metrics)
        if metrics.get("eval_loss", float("inf")) < self.best_metric:
            self.best_metric = metrics["eval_loss"]
            self._save_checkpoint(is_best=True)

    def _save_checkpoint(self, is_best: bool = False) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        name = "best_model.pt" if is_best else f"checkpoint-{self.global_step}.pt"
        save_checkpoint(
            {
                "model_state_dict": self.model.state_dict(),
                "optimizer_state_dict": self.optimizer.state_dict(),
                "scheduler_state_dict": self.scheduler.state_dict(),
                "global_step": self.global_step,
                "current_epoch": self.current_epoch,
                "best_metric": self.best_metric,
                "config": self.config.to_dict(),
            },
            self.output_dir / name,
        )

    def load_checkpoint(self, checkpoint_path: Union[str, Path]) -> None:
        state = load_checkpoint(checkpoint_path)
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.scheduler.load_state_dict(state["scheduler_state_dict"])
        self.global_step, self.current_epoch = state["global_step"], state["current_epoch"]
        self.best_metric = state["best_metric"]
