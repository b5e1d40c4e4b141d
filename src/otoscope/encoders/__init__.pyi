from .encoder import Encoder, Layer
from .families import FAMILIES, Family, WrittenFamily
from .load import load_encoder, load_recorded
from .short_names import ENCODERS
from .tokens import Tokens

__all__ = [
    "ENCODERS",
    "FAMILIES",
    "Encoder",
    "Family",
    "Layer",
    "Tokens",
    "WrittenFamily",
    "load_encoder",
    "load_recorded",
]
