"""The pipeline of version 1.1."""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(__file__), '.'))

from bem.bem_v11_stable import BEMv11StableModel, SpectralGovernance
from bem.modules.governance import SpectralGovernance as Governance


def test_same():
    assert SpectralGovernance is Governance and BEMv11StableModel
