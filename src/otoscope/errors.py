"""Every error Otoscope raises on purpose.

All derive from `OtoscopeError`, so ``except otoscope.OtoscopeError`` catches what a user can mend
and lets real bugs through. The command line prints them without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class OtoscopeError(Exception):
    """Root of all of Otoscope's errors."""


class InputError(OtoscopeError, ValueError):
    """An argument, table or option that cannot be used; the message says what came and what to do."""


class AudioError(InputError):
    """An audio file that cannot be used: missing, unreadable, empty, or not finite.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.reason)  # so that it survives a trip between processes


class FileError(OtoscopeError, OSError):
    """A file that cannot be written: a full disk, a folder that is closed or not there, a name that cannot be."""


class UnknownNameError(InputError):
    """A name that no registry holds; the message lists the nearest and the known ones."""


class SpecError(InputError):
    """An experiment spec with an unknown key or a value out of range."""


class ProvenanceError(InputError):
    """A store or run on disk was made with other settings than those asked for now."""


class ModelError(InputError):
    """A model that cannot be loaded, or that cannot serve what is asked of it."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the option nearest to `name`, or an empty string."""
    found = difflib.get_close_matches(str(name), [str(option) for option in options], n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""
