"""The variants as they were in version 1.1. Nobody imports this any more."""

from ..security.parameter_protection import ParameterProtector
from bem.modules.governance import SpectralGovernance


class FusedKroneckerV11:
    def __init__(self):
        self.protector = ParameterProtector()
        self.governance = SpectralGovernance()
        try:
            from bem.kernels.cuda_ops import kronecker_product_forward, kronecker_product_backward

            self.fused = (kronecker_product_forward, kronecker_product_backward)
        except ImportError:
            self.fused = None
