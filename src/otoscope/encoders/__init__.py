"""Encoders: pretrained audio models as functions from waveforms to hidden states.

Found by short name, hub id or folder (`load_encoder`); any `torch.nn.Module` joins through
`Encoder.from_module`, other packages through the entry point group ``otoscope.encoders``.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
