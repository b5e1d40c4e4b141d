"""The encoder: waveforms of equal length in, hidden states of the layers asked for out."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from otoscope.compute import in_lanes
from otoscope.encoders import kernels
from otoscope.encoders.precision import DTYPES, compute_dtype
from otoscope.encoders.tokens import Grid, Layer, Tokens, even_tokens
from otoscope.errors import InputError, ModelError, nearest

LAYER_CONVENTION = "0 enters the first block, i leaves the i-th block, final follows the last norm"


@dataclass(frozen=True)
class Tap:
    """Where a layer is read: what goes into a module (`before`), or what comes out of it."""

    module: nn.Module
    before: bool = False


def block_taps(blocks: Sequence[nn.Module]) -> list[Tap]:
    """Return the taps of layers 0..L of a stack of L blocks."""
    return [Tap(blocks[0], before=True), *(Tap(block) for block in blocks)]


@dataclass
class Encoder:
    """A pretrained model, in eval mode, and how to read its layers.

    Made by `load_encoder` or `Encoder.from_module`.

    Attributes
    ----------
    name : str
        Short name, hub id with ``--`` for ``/``, or folder name: what result tables call it.
    sample_rate : int
        In Hz; waveforms must come at this rate.
    min_samples, max_samples : int, int or None
        The shortest and longest input of one pass.
    widths : dict of layer -> int
        Features of each layer, "final" included.
    dtype : str
        What the blocks compute in: "float32", "bfloat16" or "float16". States are float32 always.
    reentrant : bool
        Whether several threads may run the module at once, that is, it keeps nothing from one pass to the next.
    """

    name: str
    module: nn.Module
    sample_rate: int
    taps: list[Tap]
    final: Tap
    widths: dict[Layer, int]
    frontend: Callable[[np.ndarray], torch.Tensor]
    grid: Grid | None
    min_samples: int = 1
    max_samples: int | None = None
    channels_first: bool = False
    frame_rate_hz: float | None = None
    family: str = "module"
    reentrant: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "float32"
    dtype_asked: str = "float32"
    source: Mapping[str, Any] = field(default_factory=dict)
    skipped_weights: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.module.eval().requires_grad_(False).to(self.device)
        self._set_kernels()

    @property
    def n_layers(self) -> int:
        """Number of blocks L; the layers are 0..L."""
        return len(self.taps) - 1

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
        """Return the states of `layers` for inputs that the frontend has made and that were stacked."""
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
        """Hook the layers; what is yielded takes stacked inputs and returns their states, as `run` does.

        Where `n_lanes` allows it, several threads may call it at once: what each reads is its own.
        """
        own = threading.local()

        def read(inputs: torch.Tensor) -> dict[Layer, torch.Tensor]:
            own.caught = {}
            inputs = inputs.to(self.device, non_blocking=True)
            with torch.no_grad(), kernels.autocasting(self.dtype, self.device), suppress(_DeepEnough):
                self.module(inputs)
            return {layer: own.caught[layer] for layer in layers}

        def keep(layer: Layer, state: Any) -> None:
            """Catch a layer's state, and end the pass once all are there."""
            caught = own.caught
            if layer in caught:
                return
            state = state[0] if isinstance(state, tuple | list) else state
            if not isinstance(state, torch.Tensor) or state.ndim != 3:
                shape = tuple(state.shape) if isinstance(state, torch.Tensor) else type(state).__name__
                raise ModelError(
                    f"layer {layer} of {self.name} is no [clips, tokens, width] tensor but {shape}"
                )
            state = (state.transpose(1, 2) if self.channels_first else state).float()
            # A module of one's own may work in place on what was caught.
            caught[layer] = state.clone() if self.family == "module" else state
            if len(caught) == len(layers):
                raise _DeepEnough

        handles = []
        if self.dtype != "float32":  # the residual stream is summed in float32 from its very beginning
            handles.append(self.taps[0].module.register_forward_pre_hook(_in_float32))
        for layer in layers:
            tap = self.final if layer == "final" else self.taps[int(layer)]
            if tap.before:

                def before(module: nn.Module, args: tuple, kwargs: dict, layer: Layer = layer) -> None:
                    keep(layer, args[0] if args else next(iter(kwargs.values())))

                handles.append(tap.module.register_forward_pre_hook(before, with_kwargs=True))
            else:

                def after(module: nn.Module, args: tuple, output: Any, layer: Layer = layer) -> None:
                    keep(layer, output)

                handles.append(tap.module.register_forward_hook(after))
        try:
            yield read
        finally:
            for handle in handles:
                handle.remove()

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
                f"{self.max_samples / self.sample_rate:.2f} s; cut them, or use otoscope.extract, which windows them"
            )

    def tokens(self, n_samples: int, layer: Layer = 0, *, n_tokens: int | None = None) -> Tokens:
        """Return what the tokens of a layer stand for, given an input of `n_samples` samples.

        `n_tokens` counts for a module of one's own, whose number of tokens follows from no formula: they come at
        its frame rate, or spread evenly over the input if it was given none.
        """
        if self.grid is not None:
            return self.grid(n_samples, layer)
        duration_s = n_samples / self.sample_rate
        if self.frame_rate_hz is not None:
            n_tokens = math.ceil(duration_s * self.frame_rate_hz) if n_tokens is None else n_tokens
            return even_tokens(n_tokens, first_s=0.5 / self.frame_rate_hz, hop_s=1 / self.frame_rate_hz)
        if n_tokens is None:
            raise InputError(f"the frame rate of {self.name} is not known; give from_module a frame_rate_hz")
        hop_s = duration_s / n_tokens
        return even_tokens(n_tokens, first_s=hop_s / 2, hop_s=hop_s)

    def frame_times(self, n_samples: int, layer: Layer = 0) -> np.ndarray:
        """Return the centre of each moment of a clip of `n_samples` samples, in seconds, ascending.

        One entry per token, except where a token is no moment of the clip: class tokens and padding are left
        out, and tokens of one moment and several frequency bands (AST) give one entry.
        """
        tokens = self.tokens(n_samples, layer)
        return np.unique(tokens.time_s[tokens.inside(n_samples / self.sample_rate)])

    def to(self, device: torch.device) -> Encoder:
        """Move to a device; what dtype "auto" means is looked up again there."""
        self.device = device
        self.module.to(device)
        self.dtype = compute_dtype(self.dtype_asked, self.family, device)
        self._set_kernels()
        return self

    def keep_dtype(self, dtype: str) -> None:
        """Compute in `dtype` where "auto" was asked for: a store that was begun is finished in its own dtype."""
        if self.dtype_asked == "auto" and dtype in DTYPES and dtype != self.dtype:
            self.dtype = dtype
            self._set_kernels()

    def provenance(self) -> dict[str, Any]:
        """Return what the numbers depend on: model, revision or weight hash, rate, dtype, layer convention."""
        return {
            "encoder": self.name,
            "family": self.family,
            **self.source,
            "sample_rate": self.sample_rate,
            "layer_convention": LAYER_CONVENTION,
            "compute_dtype_asked": self.dtype_asked,
            "compute_dtype": self.dtype,
        }

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        *,
        blocks: str,
        sample_rate: int,
        preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
        final: str | None = None,
        name: str | None = None,
        frame_rate_hz: float | None = None,
        min_samples: int | None = None,
        max_samples: int | None = None,
        channels_first: bool = False,
        device: str = "auto",
        dtype: str = "float32",
    ) -> Encoder:
        """Make an encoder of any module: its layers are read by hooks on named blocks.

        Parameters
        ----------
        module : nn.Module
            Called with a batch of inputs; put into eval mode.
        blocks : str
            Pattern of the blocks' names in ``module.named_modules()``, such as ``"encoder.layers.*"`` (a ``*``
            stands for one part of a name). They must run one after the other, in the order of their names' numbers.
        sample_rate : int
            Of the waveforms, in Hz.
        preprocess : callable, optional
            Takes one waveform [samples] and returns the module's input for it, without the batch dimension.
            Default: the waveform itself.
        final : str, optional
            Name of the last norm, read as layer "final". Default: "final" is the last block's output.
        name : str, optional
            What tables call it. Default: the class name.
        frame_rate_hz : float, optional
            Tokens per second, the first centred half a frame in. Needed to keep frames, not to pool them.
        min_samples, max_samples : int, optional
            Shortest and longest input. Default: 1, and no limit but `extract`'s own.
        channels_first : bool
            Whether blocks give [clips, width, tokens] instead of [clips, tokens, width].

        Raises
        ------
        InputError
            If no module matches `blocks` or `final`.
        ModelError
            If a trial on one second of silence fails, or a block gives no 3-D tensor.
        """
        from otoscope.encoders.own_module import wrap

        return wrap(
            module,
            blocks=blocks,
            sample_rate=sample_rate,
            preprocess=preprocess,
            final=final,
            name=name or type(module).__name__,
            frame_rate_hz=frame_rate_hz,
            min_samples=min_samples or 1,
            max_samples=max_samples,
            channels_first=channels_first,
            device=device,
            dtype=dtype,
        )

    def _set_kernels(self) -> None:
        if self.family != "module":  # a user's own module is theirs to train and change
            kernels.install(self.module, self.dtype, self.device)

    def _layer(self, asked: Layer) -> Layer:
        text = str(asked).strip()
        if text == "final":
            return "final"
        if not text.isdigit() or int(text) > self.n_layers:
            raise InputError(
                f"{self.name} has no layer '{asked}'{nearest(text, ['final', 'all'])} "
                f"(it has 0 to {self.n_layers}, and 'final')"
            )
        return int(text)


class _DeepEnough(Exception):
    """Ends a forward pass: every state asked for has been caught."""


def _in_float32(module: nn.Module, args: tuple) -> tuple:
    return (args[0].float(), *args[1:]) if args else args
