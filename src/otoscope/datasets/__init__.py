"""Data sets: functions that return a clips table.

``load_clips("synthsing")``, any folder of recordings (``load_clips("path/to/folder")``), a table of clips
(``load_clips("clips.csv")``) or one recording. Third-party packages add data sets through the entry point group
``otoscope.datasets``: objects of `DataSet`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
