"""Import everything that the migration promises; a script, not a test module."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

REGISTRY = [
    ("src.bem_core.training.base_trainer", ["BaseTrainer", "TrainingConfig"]),
    ("src.bem_core.evaluation.base_evaluator", ["BaseEvaluator"]),
    ("src.bem2.router.unified_trainer", ["RouterTrainer", "RouterEvaluator"]),
    ("src.bem2.safety.unified_trainer", ["SafetyTrainer"]),
]


def main() -> bool:
    ok = True
    for module_name, expected_classes in REGISTRY:
        try:
            module = __import__(module_name, fromlist=expected_classes)
            ok = ok and all(hasattr(module, name) for name in expected_classes)
        except ImportError as error:
            print(module_name, error)
            ok = False
    return ok


if __name__ == "__main__":
    sys.exit(not main())
