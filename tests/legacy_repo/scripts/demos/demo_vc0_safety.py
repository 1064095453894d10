#!/usr/bin/env python3
"""The safety components, one by one, and a short training of all of them together."""

import logging
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn as nn

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "src"))

from bem2.safety import (
    OrthogonalSafetyBasis, SafetyBasisConfig,
    ConstitutionalScorer, ValueModelConfig,
    LagrangianOptimizer, ConstraintConfig,
    SafetyController, ControlConfig,
    ViolationDetector, ViolationConfig,
    SafetyTrainingPipeline, SafetyTrainingConfig,
    SafetyEvaluationSuite, SafetyMetrics,
)
from bem2.safety.evaluation import EvaluationConfig

VOCAB, HIDDEN, LAYERS = 256, 32, 2


class DemoModel(nn.Module):
    """Stands where GPT-2 stood."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.GELU()) for _ in range(LAYERS)])
        self.head = nn.Linear(HIDDEN, VOCAB)

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        hidden = self.embed(input_ids)
        states = [hidden]
        for layer in self.layers:
            hidden = hidden + layer(hidden)
            states.append(hidden)
        return SimpleNamespace(logits=self.head(hidden), hidden_states=tuple(states))


def make_batches(num_batches=8, size=4, length=16):
    batches = []
    for _ in range(num_batches):
        ids = torch.randint(0, VOCAB, (size, length))
        violations = torch.zeros(size, 19, dtype=torch.long)
        violations[:, 0] = (ids[:, 0] < 64).long() * 2
        batches.append({
            "input_ids": ids,
            "labels": ids,
            "attention_mask": torch.ones(size, length, dtype=torch.long),
            "violations": violations,
        })
    return batches


def demo_components():
    basis = OrthogonalSafetyBasis(SafetyBasisConfig(hidden_dim=16, safety_rank=4, num_layers=2))
    scorer = ConstitutionalScorer(ValueModelConfig(hidden_dim=16, num_layers=1, num_heads=2))
    ids = torch.randint(0, 100, (2, 8))
    scores = scorer(ids)
    level = SafetyController(ControlConfig(hidden_dim=16))(torch.randn(2, 8, 16), scores, domain="medical")
    print("level", float(level.detach()))
    print("basis", basis(torch.randn(2, 8, 16), 0, scores, level)[1], basis.validate_orthogonality()["max_error"])
    detector = ViolationDetector(ViolationConfig(hidden_dim=16, num_layers=1, num_heads=2))
    for result in detector(["a friendly text", "password and poison"]):
        print("detector", result.violation_detected, result.explanation)


def demo_training(folder):
    pipeline = SafetyTrainingPipeline(
        DemoModel(),
        SafetyTrainingConfig(num_epochs=3, checkpoint_dir=f"{folder}/checkpoints", use_wandb=False),
        SafetyBasisConfig(hidden_dim=HIDDEN, safety_rank=4, num_layers=LAYERS),
        ValueModelConfig(hidden_dim=16, num_layers=1, num_heads=2, vocab_size=VOCAB),
        ConstraintConfig(warmup_steps=4),
        ControlConfig(hidden_dim=HIDDEN),
        ViolationConfig(hidden_dim=HIDDEN, num_layers=1, num_heads=2, vocab_size=VOCAB),
    )
    assert isinstance(pipeline.lagrangian_optimizer, LagrangianOptimizer)
    results = pipeline.train(make_batches(), make_batches(2))
    print("steps", results["total_steps"], "best violation rate", results["best_violation_rate"])
    print("constraint", results["constraint_analysis"])
    return pipeline


def demo_evaluation(pipeline, folder):
    config = EvaluationConfig(output_dir=f"{folder}/evaluation", generate_plots=False, num_safety_levels=3)
    suite = SafetyEvaluationSuite(config, pipeline.augmented_model)
    overall = suite.run_comprehensive_evaluation()["overall"]
    summary = suite.generate_summary_metrics()
    assert isinstance(summary, SafetyMetrics)
    print("grade", overall["grade"], "orthogonality", summary.orthogonality_error)


def main():
    logging.basicConfig(level=logging.WARNING)
    torch.manual_seed(42)
    demo_components()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = demo_training(folder)
        demo_evaluation(pipeline, folder)


if __name__ == "__main__":
    main()
