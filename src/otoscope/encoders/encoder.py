"""The encoder: waveforms of equal length in, hidden states of the layers asked for out."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.compute import in_lanes, pick_device
from otoscope.encoders import kernels
from otoscope.encoders.fitting import Fitting
from otoscope.encoders.own_module import FromModule
from otoscope.encoders.precision import PRECISIONS, compute_precision
from otoscope.encoders.taps import Edit, Tap, reading
from otoscope.encoders.tokens import Layer, Tokens
from otoscope.errors import InputError, nearest

LAYER_CONVENTION = "0 enters the first block, i leaves the i-th block, final follows the last norm"


class Encoder(FromModule):
    """A pretrained model, in eval mode, and how to read and edit its layers.

    Made by `load_encoder` or `Encoder.from_module`; both fit a model, and this is made of the fitting.

    Parameters
    ----------
    fitting : Fitting
        The model and how it is read.
    name : str
        Short name, hub id with ``--`` for ``/``, or folder name: what result tables call it.
    device : str or torch.device
        Where the model goes.
    precision : str
        What it computes in, or "auto": see `load_encoder`.
    source : mapping, optional
        What provenance says of where the weights are from.
    skipped_weights : tuple of str
        Names of a checkpoint's weights that were left aside: heads, decoders.

    Attributes
    ----------
    name, source, skipped_weights
        As given.
    fitting : Fitting
        As given; most of what follows is its.
    module : nn.Module
        The model. Within `edited` it may be called by itself too, to run on to its head.
    sample_rate : int
        In Hz; waveforms must come at this rate.
    n_layers : int
        Number of blocks L; the layers are 0..L, and "final".
    widths : dict of layer -> int
        Features of each layer, "final" included.
    min_samples, max_samples : int, int or None
        The shortest and longest input of one pass.
    frontend : callable
        One waveform [samples] -> the model's input for it, without the batch dimension.
    family : str
        The model type, "module" for a module of one's own.
    reentrant : bool
        Whether several threads may run the model at once.
    device : torch.device
        Where it is.
    precision, precision_asked : str
        What the blocks compute in ("float32", "bfloat16", "float16"), and what was asked for, which may be "auto".
        States are float32 always.
    folder : Path or None
        Where the weights were found, if that was a folder of the user's.
    """

    def __init__(
        self,
        fitting: Fitting,
        *,
        name: str,
        device: str | torch.device = "auto",
        precision: str = "float32",
        source: Mapping[str, Any] | None = None,
        skipped_weights: tuple[str, ...] = (),
    ) -> None:
        self.fitting = fitting
        self.name = name
        self.module: nn.Module = fitting.module.eval()
        self.sample_rate = fitting.sample_rate
        self.widths = fitting.widths
        self.min_samples, self.max_samples = fitting.min_samples, fitting.max_samples
        self.frontend = fitting.frontend
        self.family, self.reentrant = fitting.family, fitting.reentrant
        self.source = dict(source or {})
        self.folder: Path | None = None
        self.skipped_weights = skipped_weights
        self.precision_asked = precision
        self._edits: dict[int, str] = {}
        self._kernels: tuple[str, torch.device] | None = None
        if not fitting.borrowed:
            self.module.requires_grad_(False)
        self.to(pick_device(device))

    def __repr__(self) -> str:
        model = f"{self.name!r}, {self.n_layers} blocks, {self.sample_rate} Hz"
        return f"Encoder({model}, {self.precision} on {self.device})"

    @property
    def n_layers(self) -> int:
        """Number of blocks L; the layers are 0..L."""
        return len(self.fitting.taps) - 1

    def layers(self, asked: str | Layer | Iterable[Layer] = "all") -> list[Layer]:
        """Return the layers meant by "all" (0..L), "final", a number, a list, or text such as "3,6,final".

        Raises
        ------
        InputError
            If a layer is none of 0..L or "final", or comes twice.
        """
        if isinstance(asked, str):
            asked = range(self.n_layers + 1) if asked == "all" else asked.split(",")
        elif isinstance(asked, int):
            asked = [asked]
        layers = [self._layer(layer) for layer in asked]
        if not layers or len(set(layers)) < len(layers):
            raise InputError(f"layers must be a list without repeats; got {layers}")
        return layers

    def tap(self, layer: Layer) -> Tap:
        """Return where the state of a layer passes."""
        return self.fitting.final if layer == "final" else self.fitting.taps[int(layer)]

    def hidden_states(
        self, waveforms: np.ndarray | torch.Tensor, layers: str | Iterable[Layer] = "all"
    ) -> dict[Layer, torch.Tensor]:
        """Return the states of `layers`; blocks past the deepest one are not computed.

        Parameters
        ----------
        waveforms : array or tensor [clips, samples]
            Mono, in -1..1, at `sample_rate`, all of the same length: nothing is padded here.
        layers : "all", or list of int or "final"
            Layer 0 enters the first block, layer i leaves the i-th; "final" follows the last norm, and is the
            last block's output where the model has no such norm.

        Returns
        -------
        dict of layer -> Tensor [clips, tokens, width], float32, without gradient

        Raises
        ------
        InputError
            If `waveforms` is not 2-D and finite, or is shorter or longer than the model takes.
        """
        waveforms = np.asarray(waveforms, dtype=np.float32)
        if waveforms.ndim != 2 or not len(waveforms):
            raise InputError(f"waveforms must be [clips, samples]; got an array of shape {waveforms.shape}")
        if not np.isfinite(waveforms).all():
            raise InputError("waveforms hold NaN or infinite samples; mend or drop the clip")
        self.check_length(waveforms.shape[1])
        return self.run(torch.stack([self.frontend(waveform) for waveform in waveforms]), self.layers(layers))

    def run(self, inputs: torch.Tensor, layers: Sequence[Layer]) -> dict[Layer, torch.Tensor]:
        """Return the states [clips, tokens, width] of `layers` for stacked inputs that the frontend has made."""
        n_lanes = self.n_lanes(len(inputs))
        with self.reader(layers) as read:
            passes = list(in_lanes(read, inputs.split(1) if n_lanes > 1 else [inputs], n_lanes))
        return passes[0] if n_lanes == 1 else {k: torch.cat([p.pop(k) for p in passes]) for k in layers}

    def n_lanes(self, n_inputs: int) -> int:
        """Return how many threads run the module at once for `n_inputs` inputs: on a CPU, each takes its own."""
        if not self.reentrant or self.device.type != "cpu":
            return 1
        return max(min(torch.get_num_threads(), n_inputs), 1)

    @contextmanager
    def reader(
        self, layers: Sequence[Layer]
    ) -> Iterator[Callable[[torch.Tensor], dict[Layer, torch.Tensor]]]:
        """Hook the layers; what is yielded takes stacked inputs [clips, ...] and returns their states, as `run` does.

        Where `n_lanes` allows it, several threads may call it at once: what each reads is its own. Within `edited`,
        not around it: a layer that is edited later has been read by then.
        """
        taps = {layer: self.tap(layer) for layer in layers}
        residual = None
        if self.precision != "float32":  # the residual stream is summed in float32 from its very beginning
            residual = self.tap(0).module.register_forward_pre_hook(_in_float32)
        try:
            with reading(self.module, taps, name=self.name, copy=self.fitting.borrowed) as read_taps:

                def read(inputs: torch.Tensor) -> dict[Layer, torch.Tensor]:
                    inputs = inputs.to(self.device, non_blocking=True)
                    with torch.no_grad(), kernels.autocasting(self.precision, self.device):
                        return read_taps(inputs)

                yield read
        finally:
            if residual is not None:
                residual.remove()

    @contextmanager
    def edited(self, layer: Layer, function: Edit, *, name: str | None = None) -> Iterator[Encoder]:
        """Have the state of a layer go through `function` while the block runs, and the model run on with the result.

        `hidden_states`, `extract` and the module itself then give what follows from the edit; reading the layer gives
        the edited state. Several edits may be nested; those of one layer are made in the order of the ``with``.

        Parameters
        ----------
        layer : int or "final"
            Whose state is edited.
        function : callable
            Takes a copy of the state [clips, tokens, width], float32, and returns a tensor of the same shape, which
            goes back in the model's own type. If it returns its argument untouched, the model's own state stays.
            How many clips come at once is not said, and on a CPU several threads may call it: what it makes of a clip
            must not depend on the others.
        name : str, optional
            What provenance calls the edit: `extract` completes a store that was made under edits only under those of
            the same names. Default: one that is never used again.

        Raises
        ------
        InputError
            If there is no such layer, or, once the model runs, if `function` returns anything else.

        Examples
        --------
        >>> import numpy as np, otoscope
        >>> encoder = otoscope.load_encoder("otoscope-mini", device="cpu")
        >>> sound = np.random.default_rng(0).normal(0, 0.1, (1, 16_000))
        >>> with encoder.edited(2, lambda state: 0 * state):
        ...     bool((encoder.hidden_states(sound, [2])[2] == 0).all())
        True
        """
        layer = self._layer(layer)
        if name is None:
            name = f"{getattr(function, '__name__', type(function).__name__)}-{uuid.uuid4().hex[:8]}"
        handle = self.tap(layer).edit(function, name=f"layer {layer} of {self.name}")
        self._edits[handle.id] = f"layer {layer}: {name}"
        try:
            yield self
        finally:
            handle.remove()
            del self._edits[handle.id]

    def check_length(self, n_samples: int) -> None:
        """Raise InputError unless one pass takes `n_samples` samples."""
        if n_samples < self.min_samples:
            raise InputError(
                f"{n_samples} samples are too short for {self.name}, which needs {self.min_samples} "
                f"({self.min_samples / self.sample_rate:.4g} s at {self.sample_rate} Hz)"
            )
        if self.max_samples is not None and n_samples > self.max_samples:
            raise InputError(
                f"{n_samples / self.sample_rate:.2f} s are too long for one pass of {self.name}, which takes "
                f"{self.max_samples / self.sample_rate:.2f} s; cut them, or use otoscope.extract, which does"
            )

    def tokens(self, n_samples: int, layer: Layer = 0, *, n_tokens: int | None = None) -> Tokens:
        """Return what the tokens of a layer stand for, given an input of `n_samples` samples.

        `n_tokens` counts for a module of one's own, whose number of tokens follows from no formula: they come at
        its frame rate, or spread evenly over the input if it was given none.
        """
        return self.fitting.grid(n_samples, layer, n_tokens)

    def frame_times(self, n_samples: int, layer: Layer = 0) -> np.ndarray:
        """Return the centre of each moment [moments] of a clip of `n_samples` samples, in seconds, ascending.

        One entry per token, except where a token is no moment of the clip: class tokens and padding are left
        out, and tokens of one moment and several frequency bands (AST) give one entry.
        """
        tokens = self.tokens(n_samples, layer)
        return np.unique(tokens.time_s[tokens.inside(n_samples / self.sample_rate)])

    def to(self, device: str | torch.device) -> Encoder:
        """Move to a device; what precision "auto" means is looked up again there."""
        self.device = pick_device(device)
        self.module.to(self.device)
        self._compute_in(compute_precision(self.precision_asked, self.family, self.device))
        return self

    @contextmanager
    def placed(
        self, device: str | torch.device | None = None, *, auto: str | None = None
    ) -> Iterator[Encoder]:
        """Be on another device while the block runs, and let precision "auto", if that was asked for, mean `auto`."""
        device_before, precision_before = self.device, self.precision
        try:
            if device is not None and pick_device(device) != self.device:
                self.to(device)
            if self.precision_asked == "auto" and auto in PRECISIONS:
                self._compute_in(auto)
            yield self
        finally:
            if self.device != device_before:
                self.to(device_before)
            self._compute_in(precision_before)

    def provenance(self) -> dict[str, Any]:
        """Return what the numbers depend on: model, revision or weight hash, rate, precision, edits."""
        edits = {"edits": list(self._edits.values())} if self._edits else {}
        return {
            "encoder": self.name,
            "family": self.family,
            **self.source,
            "sample_rate": self.sample_rate,
            "layer_convention": LAYER_CONVENTION,
            "precision_asked": self.precision_asked,
            "precision": self.precision,
            **edits,
        }

    def _compute_in(self, precision: str) -> None:
        """Give the model the kernels for a precision; those it has stay, as packed anew they may round otherwise."""
        if (precision, self.device) == self._kernels:
            return
        self.precision = precision
        self._kernels = precision, self.device
        if not self.fitting.borrowed:
            kernels.install(self.module, precision, self.device)

    def _layer(self, asked: Layer) -> Layer:
        text = str(asked).strip()
        if text == "final":
            return "final"
        if not text.isdecimal() or int(text) > self.n_layers:
            raise InputError(
                f"{self.name} has no layer '{asked}'{nearest(text, ['final', 'all'])} "
                f"(it has 0 to {self.n_layers}, and 'final')"
            )
        return int(text)


def _in_float32(module: nn.Module, args: tuple) -> tuple:
    return (args[0].float(), *args[1:]) if args else args
