from .ablation import ablate
from .latents_folder import read_latents, write_latents
from .run_directory import RunDirectory
from .runner import run
from .spec import Spec, load_spec, recipes

__all__ = [
    "RunDirectory",
    "Spec",
    "ablate",
    "load_spec",
    "read_latents",
    "recipes",
    "run",
    "write_latents",
]
