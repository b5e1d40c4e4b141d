from .notebook import Latents, open_latents
from .site import write_explorer

__all__ = ["Latents", "open_latents", "write_explorer"]
