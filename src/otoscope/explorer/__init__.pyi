from .site import write_explorer

__all__ = ["write_explorer"]
