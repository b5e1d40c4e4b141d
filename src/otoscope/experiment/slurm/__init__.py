"""A run on a Slurm cluster: plain sbatch files, submitted in order, and what squeue and their logs say of them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
