"""Taps: the places of a model where a layer's state passes, to be read or edited. A hook does both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from otoscope.encoders.tokens import Layer
from otoscope.errors import InputError, ModelError

Edit = Callable[[torch.Tensor], torch.Tensor]
"""[clips, tokens, width] float32 -> the same shape."""


@dataclass(frozen=True)
class Tap:
    """Where a layer's state passes.

    Attributes
    ----------
    module : nn.Module
    before : bool
        Whether the state is what goes into the module, not what comes out of it: the first of its arguments, or of a
        tuple that it returns.
    channels_first : bool
        Whether it is [clips, width, tokens] there instead of [clips, tokens, width].
    """

    module: nn.Module
    before: bool = False
    channels_first: bool = False

    def read(self, keep: Callable[[torch.Tensor], None], *, name: str) -> RemovableHandle:
        """Have every pass call `keep` with the state: [clips, tokens, width], float32; its memory may be the model's.

        `name` is what an error calls the layer.
        """
        return self._hook(lambda own: keep(self._seen(own, name)))

    def edit(self, function: Edit, *, name: str) -> RemovableHandle:
        """Have every pass go on with what `function` makes of (a copy of) the state; what it leaves alone stays."""

        def change(own: Any) -> torch.Tensor | None:
            state = self._seen(own, name).clone()
            version = None if state.is_inference() else state._version
            new = function(state)
            if new is state and version is not None and state._version == version:
                return None  # not written to either
            if not isinstance(new, torch.Tensor) or new.shape != state.shape:
                got = tuple(new.shape) if isinstance(new, torch.Tensor) else type(new).__name__
                raise InputError(
                    f"the edit of {name} must return a tensor of the shape it is given, "
                    f"{tuple(state.shape)}; got {got}"
                )
            return (new.transpose(1, 2) if self.channels_first else new).to(own)

        return self._hook(change)

    def _hook(self, function: Callable[[Any], torch.Tensor | None]) -> RemovableHandle:
        """Call `function` with the state as it is here; what it returns, if anything, takes the state's place."""
        if self.before:

            def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
                key = None if args else next(iter(kwargs))
                new = function(args[0] if key is None else kwargs[key])
                if new is None:
                    return None
                return ((new, *args[1:]), kwargs) if key is None else (args, kwargs | {key: new})

            return self.module.register_forward_pre_hook(before, with_kwargs=True)

        def after(module: nn.Module, args: tuple, output: Any) -> Any:
            if not isinstance(output, tuple | list):
                return function(output)
            new = function(output[0])
            if new is None:
                return None
            whole = (new, *output[1:])
            return type(output)(*whole) if hasattr(output, "_fields") else type(output)(whole)

        return self.module.register_forward_hook(after)

    def _seen(self, own: Any, name: str) -> torch.Tensor:
        """Return the state as we know it."""
        if not isinstance(own, torch.Tensor) or own.ndim != 3:
            shape = tuple(own.shape) if isinstance(own, torch.Tensor) else type(own).__name__
            raise ModelError(f"{name} is no [clips, tokens, width] tensor but {shape}")
        return (own.transpose(1, 2) if self.channels_first else own).float()


def block_taps(blocks: Sequence[nn.Module], *, channels_first: bool = False) -> list[Tap]:
    """Return the taps of layers 0..L of a stack of L blocks."""
    first = Tap(blocks[0], before=True, channels_first=channels_first)
    return [first, *(Tap(block, channels_first=channels_first) for block in blocks)]


@contextmanager
def reading(
    module: nn.Module, taps: Mapping[Layer, Tap], *, name: str, copy: bool
) -> Iterator[Callable[[torch.Tensor], dict[Layer, torch.Tensor]]]:
    """Read the layers of `taps`: what is yielded takes stacked inputs and returns states [clips, tokens, width].

    A pass ends once all are there. Several threads may call it at once if they may run the module at once: what each
    reads is its own. `copy` keeps the states from a module that works in place on what it has given.
    """
    own = threading.local()

    def read(inputs: torch.Tensor) -> dict[Layer, torch.Tensor]:
        own.caught = {}
        with suppress(_DeepEnough):
            module(inputs)
        return {layer: own.caught[layer] for layer in taps}

    def keep(layer: Layer, state: torch.Tensor) -> None:
        if layer in own.caught:
            return
        own.caught[layer] = state.clone() if copy else state
        if len(own.caught) == len(taps):
            raise _DeepEnough

    with ExitStack() as hooks:
        for layer, tap in taps.items():
            hooks.callback(tap.read(partial(keep, layer), name=f"layer {layer} of {name}").remove)
        yield read


class _DeepEnough(Exception):
    """Ends a forward pass: every state asked for has been caught."""
