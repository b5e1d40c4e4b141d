"""Latents in a notebook: a table of those that go with a label, and one of them to hear."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from otoscope.clips import channels
from otoscope.errors import AudioError, InputError, nearest
from otoscope.explorer.reading import Dictionary, find_dictionaries
from otoscope.explorer.sounds import N_BANDS, listen

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.experiment import RunDirectory

_WIDTH, _HEIGHT = 320, 110  # px of a picture


@dataclass(frozen=True)
class Latents:
    """The latents of one dictionary, to look up and to hear.

    Attributes
    ----------
    dictionary : Dictionary
        Their tables.
    """

    dictionary: Dictionary

    def top(self, n: int = 10, *, label: str | None = None) -> pd.DataFrame:
        """Return the latents whose names the evidence holds best, or those that tell a label best.

        Parameters
        ----------
        n : int
            So many.
        label : str, optional
            The value of a label, such as ``vibrato``; of the ten that are kept of each latent.

        Returns
        -------
        DataFrame
            latent, name, confidence, frequency; with a label also its column, auc, null95 and p_corrected.

        Raises
        ------
        InputError
            If no latent has that label.
        """
        columns = ["latent", "name", "confidence", "frequency"]
        latents = self.dictionary.table("latents")
        if label is None:
            return latents.sort_values("confidence", ascending=False, kind="stable")[columns].head(n)
        labels = self.dictionary.table("labels")
        own = labels[labels.value.astype(str) == label]
        if own.empty:
            known = sorted(set(labels.value.astype(str)))
            raise InputError(
                f"no latent was tested for '{label}'{nearest(label, known)} ({', '.join(known)})"
            )
        found = latents[columns].merge(own[["latent", "column", "auc", "null95", "p_corrected"]], on="latent")
        return found.sort_values("auc", ascending=False, kind="stable").head(n).reset_index(drop=True)

    def show(self, latent: int, *, n: int = 6) -> Shown:
        """Return the clips in which a latent fires most strongly, which a notebook shows with sound.

        Parameters
        ----------
        latent : int
            Its number.
        n : int
            So many clips.

        Raises
        ------
        InputError
            If the dictionary has no such latent.
        """
        latents = self.dictionary.table("latents")
        own = latents[latents.latent == latent]
        if own.empty:
            raise InputError(f"'{self.dictionary.name}' has no latent {latent}; it has {len(latents)}")
        row = own.iloc[0]
        examples = self.dictionary.table("examples")
        top = examples[(examples.latent == latent) & (examples.kind == "top")].sort_values("rank").head(n)
        clips = self.dictionary.table("clips").set_index("clip_id")
        curves = self.dictionary.table("curves")
        curves = curves[curves.latent == latent].set_index("clip_id")
        cards = [
            _card(
                clips.loc[[clip_id]],
                value,
                curves.loc[clip_id] if clip_id in curves.index else None,
                row["max"],
            )
            for clip_id, value in zip(top.clip_id, top.value)
        ]
        return Shown(
            f'<div style="max-width:1040px"><h3 style="margin:.2em 0">{latent} · {escape(str(row["name"]))}</h3>'
            f'<p style="margin:.2em 0 .8em">{escape(str(row.evidence or ""))}</p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(cards)}</div></div>'
        )


@dataclass(frozen=True)
class Shown:
    """What a notebook shows; the text is HTML, in which every name is escaped."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return "Shown(in a notebook this is heard; elsewhere use otoscope explore)"


def open_latents(
    run: str | Path | RunDirectory,
    encoder: str | None = None,
    layer: int | str | None = None,
    *,
    sparsity: float | None = None,
) -> Latents:
    """Open the latents of one dictionary of a run, or of a folder that ``otoscope latents`` wrote.

    Parameters
    ----------
    run : RunDirectory, str or Path
        What `otoscope.run` returned, a run's directory, or the folder.
    encoder, layer, sparsity : optional
        Which of its dictionaries; the first of those that are left.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> latents = open_latents("runs/demo", "otoscope-mini", 3)  # doctest: +SKIP
    >>> latents.top(label="vibrato")  # doctest: +SKIP
    >>> latents.show(812)  # doctest: +SKIP
    """
    place = Path(run) if isinstance(run, str | Path) else run.root
    found = find_dictionaries([place])
    asked = {"encoder": encoder, "layer": layer, "sparsity": sparsity}
    for dictionary in found:
        has = {**dictionary.about, "sparsity": dictionary.sae.get("sparsity")}
        if all(value is None or str(has.get(name)) == str(value) for name, value in asked.items()):
            return Latents(dictionary)
    wanted = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
    raise InputError(
        f"'{place}' has no dictionary of {wanted}; it has {', '.join(each.name for each in found)}"
    )


def _card(clip: pd.DataFrame, value: float, curve: Any, most: float) -> str:
    """Return a clip as HTML: its spectrogram, the curve over it, and its sound."""
    row = clip.iloc[0]
    name = f'<div style="font-size:.9em">{escape(str(clip.index[0]))} · {value:.3g}</div>'
    try:
        sound = listen(row.path, row.start_s, row.stop_s, channel=channels(clip)[0])
    except AudioError as error:
        return f'<div style="width:{_WIDTH}px">{name}<em>{escape(error.reason)}</em></div>'
    audio = base64.b64encode(sound.mp3).decode()
    line = "" if curve is None else _line(curve, sound.duration_s, most)
    return (
        f'<div style="width:{_WIDTH}px"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<image href="data:image/png;base64,{_picture(sound.mel)}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'preserveAspectRatio="none"/>{line}</svg>{name}'
        f'<audio controls preload="none" style="width:100%;height:32px" '
        f'src="data:audio/mpeg;base64,{audio}"></audio></div>'
    )


def _line(curve: Any, duration_s: float, most: float) -> str:
    values = np.asarray(curve["values"], dtype=float) / 255 * curve.peak / (most or 1)
    x = (curve.start_s + (np.arange(len(values)) + 0.5) * curve.step_s) / duration_s * _WIDTH
    points = " ".join(f"{a:.1f},{_HEIGHT - b * (_HEIGHT - 3):.1f}" for a, b in zip(x, values))
    return f'<polyline points="{points}" fill="none" stroke="#ff7f27" stroke-width="1.8"/>'


def _picture(mel: str) -> str:
    """Return a spectrogram as a PNG in base64."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    digits = np.frombuffer(mel.encode(), np.uint8)
    levels = np.where(digits < 58, digits - 48, digits - 87).reshape(N_BANDS, -1)
    imsave(file, levels[::-1], cmap="cividis", vmin=0, vmax=15, format="png")
    return base64.b64encode(file.getvalue()).decode()
