from .crops import Crop, parse_crop
from .extraction import extract
from .plan import provenance_of, store_name
from .reader import Activations, layer_rows

__all__ = [
    "Activations",
    "Crop",
    "extract",
    "layer_rows",
    "parse_crop",
    "provenance_of",
    "store_name",
]
