"""Interventions: change a layer's state, by latents or directions, and see what the model then does.

Arrays, tensors and functions in, tables out. An edit is a function of a state [clips, tokens, width]; it is made of
changes of codes (`through`) or of directions (`along`, `without`), put in place by `editing`, and judged by a readout.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
