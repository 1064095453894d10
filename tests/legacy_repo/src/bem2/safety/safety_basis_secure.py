"""The basis behind a guard."""

from .safety_basis import OrthogonalSafetyBasis, SafetyBasisConfig
from ..security.parameter_protection import ParameterGuard


class SecureOrthogonalSafetyBasis:
    def __init__(self, config: SafetyBasisConfig):
        self.basis, self.guard = OrthogonalSafetyBasis(config), ParameterGuard()
        self.guard.protect("bias", self.basis.bias.detach().flatten())


def create_secure_safety_basis(**kwargs) -> SecureOrthogonalSafetyBasis:
    return SecureOrthogonalSafetyBasis(SafetyBasisConfig(**kwargs))
