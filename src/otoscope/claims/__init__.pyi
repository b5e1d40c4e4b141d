from .testing import claims

__all__ = ["claims"]
