"""Guards around parameters and sessions."""

from .parameter_protection import ParameterGuard
from .auth_manager import AuthenticationManager, SecurityContext

__all__ = ["ParameterGuard", "AuthenticationManager", "SecurityContext"]
