"""BEM 2.0: router, online learning, multimodal, safety and performance track."""

from . import router
from . import online
from . import multimodal
from . import safety
from . import perftrack

__version__ = "2.0.0"

__all__ = ["router", "online", "multimodal", "safety", "perftrack"]
