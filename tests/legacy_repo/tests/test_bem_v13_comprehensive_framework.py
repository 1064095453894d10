"""Version 1.3, first generation."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / 'pipeline'))

try:
    from bem.bem_v11_stable import BEMv11Module, BEMv11StableModel, SpectralGovernance
    from bem.bem_v13_fast5 import BEMv13Config
    from bem2.evaluation.cache_analyzer import CacheAnalyzer as BEM2CacheAnalyzer
    from bem.evaluation.cache_analysis import CacheAnalysis
    BEM_AVAILABLE = True
except ImportError as e:
    BEM_AVAILABLE = False


def test_available():
    assert BEM_AVAILABLE in (True, False)
