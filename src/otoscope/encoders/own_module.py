"""Modules of a user's own, fitted by hooks on named blocks: what `Encoder.from_module` does."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from otoscope.encoders.buffers import audit_buffers
from otoscope.encoders.fitting import Fitting
from otoscope.encoders.taps import Tap, block_taps, reading
from otoscope.encoders.tokens import Grid, Layer, Tokens, even_tokens
from otoscope.errors import InputError, ModelError, nearest


class FromModule:
    """An encoder's other way to be made: of any module, not of a pretrained model's folder."""

    if TYPE_CHECKING:

        def __init__(
            self, fitting: Fitting, *, name: str, device: str, precision: str, source: Mapping[str, Any]
        ) -> None: ...

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
        class_tokens: int | Sequence[int] = 0,
        min_samples: int = 1,
        max_samples: int | None = None,
        channels_first: bool = False,
        device: str = "auto",
        precision: str = "float32",
    ) -> Self:
        """Make an encoder of any module: its layers are read by hooks on named blocks.

        Parameters
        ----------
        module : nn.Module
            Called with a batch of inputs; put into eval mode, and otherwise left as it is. A model of transformers in
            it has its unsaved buffers (rotary tables, windows) compared with those of a new build, and repaired, with
            a warning.
        blocks : str
            Pattern of the blocks' names in ``module.named_modules()``, such as ``"encoder.layers.*"`` (a ``*`` stands
            for one part of a name). They must run one after the other, in the order of their names' numbers.
        sample_rate : int
            Of the waveforms, in Hz.
        preprocess : callable, optional
            Takes one waveform [samples] and returns the module's input for it, without the batch dimension. Default:
            the waveform itself.
        final : str, optional
            Name of the last norm, read as layer "final". Default: "final" is the last block's output.
        name : str, optional
            What tables call it. Default: the class name.
        frame_rate_hz : float, optional
            Tokens per second, the first centred half a frame in. Needed to keep frames, not to pool them.
        class_tokens : int or list of int
            Tokens that are no moment of the sound (class, register tokens): how many at the front, or their places, -1
            being the last. They are left out of means and frames.
        min_samples, max_samples : int, optional
            Shortest and longest input. Default: 1, and no limit but `extract`'s own.
        channels_first : bool
            Whether blocks give [clips, width, tokens] instead of [clips, tokens, width].
        device, precision : str
            As of `load_encoder`; "auto" computes in float32.

        Raises
        ------
        InputError
            If no module matches `blocks` or `final`, there are no such `class_tokens`, or the last block gives more
            tokens than `frame_rate_hz` means, so that some would be lost.
        ModelError
            If a trial on one second of silence fails, or a block gives no 3-D tensor.
        """
        name = name or type(module).__name__
        audit_buffers(module, name=name)
        taps = block_taps(_blocks(module, blocks), channels_first=channels_first)
        last = taps[-1] if final is None else Tap(_named(module, final), channels_first=channels_first)
        at: dict[Layer, Tap] = {**dict(enumerate(taps)), "final": last}

        def frontend(waveform: np.ndarray) -> torch.Tensor:
            samples = torch.from_numpy(np.require(waveform, np.float32, ["C", "W"]))
            return samples if preprocess is None else preprocess(samples)

        def silence(n_samples: int) -> dict[Layer, torch.Tensor]:
            return _tried(module.eval(), at, frontend, n_samples, name=name)

        n_samples = min(max(sample_rate, min_samples), max_samples or sample_rate)
        states = silence(n_samples)
        deepest = len(taps) - 1
        places = _class_places(class_tokens, states[deepest].shape[1])
        if frame_rate_hz is not None:
            lengths = [n for n in (n_samples, n_samples // 2) if n >= min_samples]
            moments = {n: silence(n)[deepest].shape[1] - len(places) for n in lengths}
            _check_frame_rate(frame_rate_hz, {n / sample_rate: count for n, count in moments.items()})
        fitting = Fitting(
            module=module,
            sample_rate=sample_rate,
            taps=taps,
            final=last,
            widths={layer: state.shape[-1] for layer, state in states.items()},
            frontend=frontend,
            grid=module_grid(name, sample_rate=sample_rate, frame_rate_hz=frame_rate_hz, class_tokens=places),
            min_samples=min_samples,
            max_samples=max_samples,
            borrowed=True,
        )
        source = {"model": name, "weights_sha256": weights_hash(module)}
        return cls(fitting, name=name, device=device, precision=precision, source=source)


def _blocks(module: nn.Module, pattern: str) -> list[nn.Module]:
    """Return the modules whose names match, in the order of their names' numbers.

    Raises
    ------
    InputError
        If there are none.
    """
    modules = dict(module.named_modules())
    parts = pattern.split(".")
    names = [
        name
        for name in modules
        if name
        and len(name.split(".")) == len(parts)
        and all(fnmatchcase(part, wanted) for part, wanted in zip(name.split("."), parts))
    ]
    if not names:
        raise InputError(
            f"no module is named like '{pattern}'{nearest(pattern, modules)} "
            "(see the names with: [name for name, _ in module.named_modules()])"
        )
    names.sort(key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")])
    return [modules[name] for name in names]


def _named(module: nn.Module, name: str) -> nn.Module:
    """Return the module of that name, or raise InputError."""
    modules = dict(module.named_modules())
    if name not in modules:
        raise InputError(f"no module is named '{name}'{nearest(name, modules)}")
    return modules[name]


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def module_grid(
    name: str, *, sample_rate: int, frame_rate_hz: float | None, class_tokens: Sequence[int]
) -> Grid:
    """Return the grid of a module whose number of tokens follows from no formula.

    They come at the frame rate, the first centred half a frame in, or spread evenly over the input if there is none.
    """

    def grid(n_samples: int, layer: Layer, n_tokens: int | None) -> Tokens:
        duration_s = n_samples / sample_rate
        if n_tokens is None:
            if frame_rate_hz is None:
                raise InputError(f"the frame rate of {name} is not known; give from_module a frame_rate_hz")
            n_tokens = math.ceil(duration_s * frame_rate_hz) + len(class_tokens)
        moments = np.ones(n_tokens, bool)
        moments[list(class_tokens)] = False
        n_moments = int(moments.sum())
        hop_s = 1 / frame_rate_hz if frame_rate_hz is not None else duration_s / max(n_moments, 1)
        time_s = np.full(n_tokens, np.nan)
        time_s[moments] = even_tokens(n_moments, first_s=hop_s / 2, hop_s=hop_s).time_s
        return Tokens(time_s, np.full(n_tokens, -1), hop_s)

    return grid


def _tried(
    module: nn.Module,
    taps: Mapping[Layer, Tap],
    frontend: Callable[[np.ndarray], torch.Tensor],
    n_samples: int,
    *,
    name: str,
) -> dict[Layer, torch.Tensor]:
    """Return the states of one input of silence, [1, tokens, width] each.

    Raises
    ------
    ModelError
        If the module fails, or a block is never run or gives no such state.
    """
    place = next(module.parameters(), torch.empty(0)).device
    try:
        with torch.no_grad(), reading(module, taps, name=name, copy=True) as read:
            return read(frontend(np.zeros(n_samples, np.float32))[None].to(place))
    except KeyError as error:
        raise ModelError(f"block {error} of {name} was never run; check `blocks`") from error
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{name} failed on {n_samples} samples of silence ({error}); check what `preprocess` returns"
        ) from error


def _class_places(asked: int | Sequence[int], n_tokens: int) -> list[int]:
    """Return the places of the tokens that are no moment of the sound: the first `asked`, or those listed.

    Raises
    ------
    InputError
        If there are no such tokens, or no others.
    """
    places = list(range(asked)) if isinstance(asked, int) else [int(place) for place in asked]
    there = {place % n_tokens for place in places if -n_tokens <= place < n_tokens}
    if len(there) < len(places) or len(there) == n_tokens or (isinstance(asked, int) and asked < 0):
        raise InputError(
            f"class_tokens={asked} must be a number of tokens at the front, or different places (-1 is the last), "
            f"of the {n_tokens} tokens that silence gives, and leave some"
        )
    return places


def _check_frame_rate(frame_rate_hz: float, moments: Mapping[float, int]) -> None:
    """Raise InputError if more tokens come than a frame rate means: the last ones would count as padding.

    `moments` says how many came of inputs of so many seconds, the longest first. Where that is the same of all, the
    module fills up its inputs by itself, and what is beyond the sound is rightly left out.
    """
    if not frame_rate_hz > 0:
        raise InputError(f"frame_rate_hz must be above 0; got {frame_rate_hz}")
    duration_s, found = next(iter(moments.items()))
    expected = math.ceil(duration_s * frame_rate_hz)
    if found > expected and not (len(moments) > 1 and len(set(moments.values())) == 1):
        raise InputError(
            f"{found} tokens of {duration_s:g} s are more than the {expected} that frame_rate_hz={frame_rate_hz:g} "
            "means, so that some would be lost: give the rate at which they come, or say with class_tokens which of "
            "them are no moment of the sound"
        )
