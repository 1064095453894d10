"""Vision features in the routing decision."""

from .vision_encoder import VisionEncoder, VisionFeatures, create_vision_encoder
from .controller_integration import MultimodalController, create_multimodal_controller
from .coverage_analysis import CoverageAnalyzer, ConsistencyGate
from .evaluation import VQAEvaluator, HallucinationMetrics, MultimodalEvaluator
from .preprocessing import VisionPreprocessor, create_vision_preprocessor
from .training import MultimodalTrainer, MultimodalTrainingConfig, create_multimodal_trainer

__version__ = "2.0.0"

__all__ = [
    "VisionEncoder",
    "VisionFeatures",
    "create_vision_encoder",
    "MultimodalController",
    "create_multimodal_controller",
    "CoverageAnalyzer",
    "ConsistencyGate",
    "VQAEvaluator",
    "HallucinationMetrics",
    "MultimodalEvaluator",
    "VisionPreprocessor",
    "create_vision_preprocessor",
    "MultimodalTrainer",
    "MultimodalTrainingConfig",
    "create_multimodal_trainer",
]
