from .bem_v11 import BEMv11Model, create_bem_v11_model

__all__ = ["BEMv11Model", "create_bem_v11_model"]
