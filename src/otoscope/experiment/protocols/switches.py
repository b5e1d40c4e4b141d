"""Where the published code and sound rules part ways, each a switch that can be turned alone.

The first 21 follow a reading of the public code beside Mariotte et al. (2025); the last three are how autoencoders are
trained here so that they live on other models. What cannot be switched on stored activations says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otoscope.experiment.spec import Spec

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Switch:
    """One difference of the two protocols.

    Attributes
    ----------
    number : int
        Its place in the list.
    name : str
    published, sound : str
        What each side does.
    settings : callable
        Spec -> changes ``{"probing.keep": ...}`` from published to sound; a key of ``encoders`` holds for all of them.
        None where there is nothing to change for this spec.
    reason : str
        Why the headline numbers cannot show it (where `settings` gives None).
    common_width : bool
        The change is in how the headline is computed: completeness of dense and codes by one number of dimensions.
    """

    number: int
    name: str
    published: str
    sound: str
    settings: Callable[[Spec], Settings | None] = field(default=lambda spec: None)
    reason: str = ""
    common_width: bool = False


def _always(**changes: Any) -> Callable[[Spec], Settings]:
    return lambda spec: {key.replace("__", "."): value for key, value in changes.items()}


def _vocalset(**options: str) -> Callable[[Spec], Settings | None]:
    changes = {f"dataset.options.{name}": value for name, value in options.items()}
    return lambda spec: changes if spec.dataset.name == "vocalset" else None


def _right_family(spec: Spec) -> Settings | None:
    return {"encoders.as_family": None} if any(encoder.as_family for encoder in spec.encoders) else None


def _unpadded(spec: Spec) -> Settings:
    crops = spec.extraction.model_dump(include={"train_crop", "evaluate_crop"})
    return {"extraction.pool": "mean"} | {
        f"extraction.{name}": crop.replace(",pad", "") for name, crop in crops.items() if crop
    }


def _one_crop(spec: Spec) -> Settings:
    return {"extraction.measure_crop": spec.extraction.evaluate_crop, "encoders.measure_crop": None}


SWITCHES = (
    Switch(1, "WavLM's class", "weights in a Wav2Vec2 class, position bias dropped", "in its own class",
           _right_family, "no encoder of this run is loaded into another class"),
    Switch(2, "choice of layer", "best on the test clips that score it", "best on validation clips",
           _always(probing__pick_layer="valid")),
    Switch(3, "what R² is of", "the rows that were fitted, penalty 0.1", "held-out groups, penalty chosen inside",
           _always(disentanglement__fit="held_out")),
    Switch(4, "factor without a coefficient", "completeness 1", "no completeness",
           _always(disentanglement__empty_completeness=None)),
    Switch(5, "whose completeness", "dense: best predicted; codes: most complete", "best predicted, for both",
           _always(disentanglement__selection="same")),
    Switch(6, "base of completeness", "log of each one's own width", "one width for both", common_width=True),
    Switch(7, "entropy of factors", "10-bin histogram", "nearest neighbours",
           reason="no headline number uses entropy; factor_entropy.csv holds both"),
    Switch(8, "misspelt folder", "its files vanish", "its files are kept", _vocalset(quirks="sound"),
           "only VocalSet has it"),
    Switch(9, "whose epoch autoencoders keep", "one for all layers of a model", "each its own",
           reason="one setting with 15, which turns both; probes keep their own epoch in both protocols"),
    Switch(10, "Lasso of collinear codes", "one of many solutions", "n_free says how many directions are free",
           reason="a property of the solution, not a rule: see n_free in disentanglement.csv"),
    Switch(11, "seeds", "one", "three", _always(saes__seeds=[0, 1, 2])),
    Switch(12, "encoder while training", "in train mode: dropout and masks on", "in eval mode",
           reason="needs a new pass of the model for every epoch; activations are stored once"),
    Switch(13, "short clips", "filled up with zeros, which the mean counts", "as long as they are", _unpadded),
    Switch(14, "what is measured", "whole files, though crops were learnt", "crops like those learnt", _one_crop),
    Switch(15, "which epoch autoencoders keep", "by the last validation batch, shared by layers",
           "by all validation rows, each its own", _always(saes__select="own", saes__beside=[])),
    Switch(16, "MERT's sampling rate", "layers 7, 9, 10 heard 16 kHz audio as 24 kHz", "24 kHz",
           reason="needs a second extraction at the wrong rate; not imitated"),
    Switch(17, "HuBERT 3 at 99 %", "probed with k = 512", "with k = 20",
           reason="a slip in one published number; not imitated"),
    Switch(18, "epoch of probes", "lowest validation loss (code)", "best validation accuracy (text)",
           _always(probing__keep="valid_score")),
    Switch(19, "validation clips", "drawn by file, singers shared", "whole singers", _vocalset(valid_by="group"),
           "this data set's own split keeps singers apart"),
    Switch(20, "third autoencoder", "one on the last state shares the epoch", "none", _always(saes__beside=[])),
    Switch(21, "sparsity of Fig. 3", "caption 90 %, code 95 %", "95 %",
           reason="no headline number uses Fig. 3"),
    Switch(22, "rows of autoencoders", "raw", "mean taken off, brought to one scale",
           _always(saes__normalise="auto")),
    Switch(23, "silent latents", "stay silent", "get another start", _always(saes__revive=True)),
    Switch(24, "learning rate", "constant", "falls to 0", _always(saes__decay_fraction=1.0)),
)  # fmt: skip
"""The list, in order."""
