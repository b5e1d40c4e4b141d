from .ablation import ablate
from .latents_folder import read_latents, write_latents
from .on_ray import run_on_ray
from .run_directory import RunDirectory
from .runner import run
from .spec import Spec, load_spec, recipes
from .status import StageStatus, run_status, status_data, status_table

__all__ = [
    "RunDirectory",
    "Spec",
    "StageStatus",
    "ablate",
    "load_spec",
    "read_latents",
    "recipes",
    "run",
    "run_on_ray",
    "run_status",
    "status_data",
    "status_table",
    "write_latents",
]
