from .encoder import Encoder, Layer
from .load import ENCODERS, load_encoder, load_recorded
from .tokens import Tokens

__all__ = [
    "ENCODERS",
    "Encoder",
    "Layer",
    "Tokens",
    "load_encoder",
    "load_recorded",
]
