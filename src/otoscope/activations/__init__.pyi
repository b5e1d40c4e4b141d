from .crops import Crop, parse_crop
from .extraction import extract
from .plan import provenance_of, store_name
from .reader import Activations

__all__ = [
    "Activations",
    "Crop",
    "extract",
    "parse_crop",
    "provenance_of",
    "store_name",
]
