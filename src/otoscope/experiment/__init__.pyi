from .ablation import ablate
from .run_directory import RunDirectory
from .runner import run
from .spec import Spec, load_spec, recipes

__all__ = [
    "RunDirectory",
    "Spec",
    "ablate",
    "load_spec",
    "recipes",
    "run",
]
