from .encoder import Encoder, Layer
from .families import FAMILIES, Family, WrittenFamily
from .load import ENCODERS, load_encoder, load_recorded
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
