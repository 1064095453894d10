"""Unified trainers against legacy ones."""

import sys
import unittest
from pathlib import Path
from unittest.mock import Mock, patch

sys.path.append(str(Path(__file__).parent.parent))

from src.bem2.router.unified_trainer import RouterTrainer, RouterEvaluator
from src.bem2.safety.unified_trainer import SafetyTrainer, SafetyEvaluator
from src.bem2.multimodal.unified_trainer import MultimodalTrainer, MultimodalEvaluator
from src.bem_core.config.base_config import ExperimentConfig

try:
    from src.bem2.router.training import RouterTrainer as LegacyRouterTrainer
    LEGACY_ROUTER = True
except ImportError:
    LEGACY_ROUTER = False

try:
    from src.bem2.safety.training import SafetyTrainer as LegacySafetyTrainer
    LEGACY_SAFETY = True
except ImportError:
    LEGACY_SAFETY = False

try:
    from src.bem2.multimodal.training import MultimodalTrainer as LegacyMultimodalTrainer
    LEGACY_MULTIMODAL = True
except ImportError:
    LEGACY_MULTIMODAL = False


class TestRouterMigration(unittest.TestCase):
    def setUp(self):
        self.config = ExperimentConfig(name="router")

    @patch('src.bem2.router.unified_trainer.AgenticRouter')
    @patch('src.bem2.router.unified_trainer.CompositionEngine')
    def test_model(self, engine, router):
        trainer = RouterTrainer(self.config)
        with patch.object(trainer, '_load_routing_data', return_value=[]):
            self.assertEqual(trainer._load_routing_data("x"), [])

    def test_config_conversion(self):
        with patch("src.bem2.router.unified_trainer.convert_legacy_config") as convert:
            convert.return_value = self.config

    def test_legacy(self):
        with patch("src.bem2.router.training.RouterTrainer") as legacy:
            legacy.return_value = Mock(train=lambda: {"loss": 0.5})

    def test_open(self):
        with patch("builtins.open"), patch.object(ExperimentConfig, "get_output_path"):
            self.assertTrue(RouterEvaluator)


class TestOthers(unittest.TestCase):
    def test_names(self):
        names = [SafetyTrainer, SafetyEvaluator, MultimodalTrainer, MultimodalEvaluator]
        self.assertEqual(len(names), 4)
