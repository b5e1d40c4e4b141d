"""The explorer: a folder of static pages in which one hears what each latent responds to.

`reading` finds the latents tables of a run, `sounds` turns a clip into a small MP3 and the picture of it, `tables` says
what the pages show, `shards` packs it as scripts that open from disk, `site` writes the folder. ``page/`` is what the
browser runs.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
