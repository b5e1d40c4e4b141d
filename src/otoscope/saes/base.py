"""What all sparse autoencoders share: an encoder, a decoder, a loss, weights that may be stacked, and files."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes.config import SAEConfig
from otoscope.saes.files.hub import push
from otoscope.saes.files.own import load_sae, save_sae
from otoscope.saes.registry import SAES
from otoscope.saes.selection import Selection

if TYPE_CHECKING:
    import pandas as pd


class Loss(NamedTuple):
    """What :meth:`SparseAutoencoder.loss` returns; a value for each member where weights are stacked."""

    total: Tensor
    """What is minimised."""
    mse: Tensor
    """Mean squared error over rows and dimensions, without penalties."""


class SparseAutoencoder(nn.Module):
    """Base of all kinds.

    A kind sets `config_class`, makes its parameters in ``__init__`` and writes `encode`, `decode` and, where
    training needs more than a mean squared error, `loss`. If it writes them for weights with a leading
    dimension too (``x @ w.mT`` in place of ``x @ w.T``, biases through ``.unsqueeze(-2)``), it may set
    ``stackable = True``: several of them then train as one module.

    Parameters
    ----------
    config
        The architecture.
    n_inputs
        Width of the activations.
    seed
        Seed of the initialisation.

    Attributes
    ----------
    layer : int, str or None
        The layer it was trained on, once known.
    seed : int
        Seed of the initialisation.
    selection : Selection
        How active latents are chosen; by threshold unless a kind says otherwise.
    history : pandas.DataFrame or None
        A row per epoch, once trained (see :func:`otoscope.saes.train_saes`).
    about : dict
        Free notes kept in ``config.json``: what it was trained on, its numbers.
    """

    config_class: ClassVar[type[SAEConfig]]
    stackable: ClassVar[bool] = False
    reads_pairs: ClassVar[bool] = False
    """Whether training feeds it neighbours: rows 0 and 1 of a batch, 2 and 3, and so on, are frames in a row."""
    closed_form: ClassVar[bool] = False
    """Whether it is ``x_hat = V select(ReLU(W x + b))`` under the mean squared error, whose gradients are written out
    in `otoscope.saes.fast`. Not inherited: a subclass may change any part of that, and has to say it again."""

    def __init__(self, config: SAEConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__()
        if n_inputs < 1:
            raise InputError(f"n_inputs must be positive, got {n_inputs}")
        self.config: Any = config
        self.n_inputs = n_inputs
        self.seed = seed
        self.selection = Selection("threshold")
        self.layer: int | str | None = None
        self.history: pd.DataFrame | None = None
        self.about: dict[str, Any] = {}
        self.rows_per_epoch = 0  # of the training it is in; the trainer sets it

    @property
    def n_latents(self) -> int:
        """Width of the code."""
        return self.config.n_latents

    @property
    def name(self) -> str:
        """Name of its folder, e.g. ``topk-2048-s0.95-seed0``."""
        return f"{self.config.name}-seed{self.seed}"

    def encode(self, x: Tensor) -> Tensor:
        """Turn activations ``[..., rows, n_inputs]`` into codes ``[..., rows, n_latents]``."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """Turn codes ``[..., rows, n_latents]`` into activations ``[..., rows, n_inputs]``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction of ``x [..., features]``, of the same shape."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Return what training minimises on ``x [rows, features]``; by default the mean squared error.

        `progress` is the share of training that is done, for penalties that rise (see :func:`ramp`).
        """
        mse = mean_squared_error(self(x), x)
        return Loss(mse, mse)

    def init_from_data(self, x: Tensor) -> None:
        """Set what depends on the data (a bias at its mean, say) from rows ``x [rows, n_inputs]``, before training."""

    def needs_autograd(self, n_rows: int) -> bool:
        """Whether the next step, on `n_rows` rows, has a loss beyond what `closed_form` says (AuxK, say)."""
        return False

    def note_active(self, fired: Tensor, smallest: Tensor | None, n_rows: int) -> None:
        """Take note of a step in closed form, where `loss` would note as much by itself.

        Parameters
        ----------
        fired : [..., n_latents] of bool
            Which latents were active in any of the `n_rows` rows.
        smallest : [...], optional
            The smallest active code (infinity where there is none); only where a whole batch selects.
        n_rows
            Rows of the step.
        """

    def adjust_gradients(self) -> None:
        """Change gradients before the optimiser's step."""

    def after_step(self) -> None:
        """Restore constraints on the weights after an optimiser step (unit norm, say)."""

    def check_input(self, x: Tensor) -> None:
        """Refuse activations [..., features] of another width.

        Raises
        ------
        InputError
            If the last dimension of `x` is not `n_inputs`.
        """
        if x.shape[-1] != self.n_inputs:
            raise InputError(
                f"this autoencoder reads activations of width {self.n_inputs}, got width {x.shape[-1]}: "
                "was it trained on another encoder or layer?"
            )

    def stack_key(self) -> Hashable:
        """Autoencoders with equal keys can be stacked."""
        return (type(self), self.config, self.n_inputs)

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors`` (and ``history.csv``) into `directory`."""
        return save_sae(self, Path(directory))

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> Self:
        """Load an autoencoder from a directory or a Hugging Face Hub id.

        Raises
        ------
        ModelError
            If there is none, or it cannot be read safely.
        """
        sae = load_sae(source, revision=revision)
        if not isinstance(sae, cls):
            raise InputError(f"{source} holds a {type(sae).__name__}, not a {cls.__name__}")
        return sae

    def push_to_hub(
        self,
        repo_id: str,
        *,
        folder: str = "",
        private: bool = False,
        message: str = "Add a sparse autoencoder",
    ) -> str:
        """Upload to the Hugging Face Hub, with a model card; returns the commit's address.

        Parameters
        ----------
        repo_id
            ``owner/name``; made if it does not exist.
        folder
            Where in the repository; the root by default.
        private
            Whether a repository that is made is private.
        message
            The commit's message.
        """
        return push(self, repo_id, folder=folder, private=private, message=message)


def build_sae(config: SAEConfig, n_inputs: int, *, seed: int = 0) -> SparseAutoencoder:
    """Build a fresh autoencoder of `config` for inputs of width `n_inputs`, initialised with `seed`."""
    return SAES.get(config.kind)(config, n_inputs, seed=seed)


def stack(saes: Sequence[SparseAutoencoder]) -> SparseAutoencoder:
    """Return one module whose weights are those of `saes` along a new first dimension; one SAE stays as it is."""
    first = saes[0]
    if len(saes) == 1:
        return first
    stacked = copy.deepcopy(first)
    stacked.selection = Selection(first.selection.by, tuple(k for sae in saes for k in sae.selection.ks))
    for name, _ in first.named_parameters():
        values = torch.stack([sae.get_parameter(name).detach() for sae in saes])
        setattr(stacked, name, nn.Parameter(values))
    for name, _ in first.named_buffers():
        setattr(stacked, name, torch.stack([sae.get_buffer(name) for sae in saes]))
    return stacked


def unstack_into(stacked: SparseAutoencoder, saes: Sequence[SparseAutoencoder]) -> None:
    """Copy the weights of each member of `stacked` back into `saes`."""
    if len(saes) == 1:
        return
    state = stacked.state_dict()
    for index, sae in enumerate(saes):
        sae.load_state_dict({name: value[index] for name, value in state.items()})


def mean_squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Mean squared difference of [..., rows, features] over rows and features, one value for each leading index."""
    return (reconstruction - x).square().mean(dim=(-2, -1))


def ramp(progress: float, share: float) -> float:
    """Return how far a penalty has risen that grows over the first `share` of training, `progress` of which is done."""
    return min(1.0, progress / share) if share > 0 else 1.0


def linear_weight(n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
    """Draw a weight ``[n_out, n_in]`` as ``torch.nn.Linear`` does by default."""
    return nn.init.kaiming_uniform_(torch.empty(n_out, n_in), a=5**0.5, generator=generator)


def linear_bias(n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
    """Draw a bias ``[n_out]`` as ``torch.nn.Linear`` does by default."""
    return nn.init.uniform_(torch.empty(n_out), -(n_in**-0.5), n_in**-0.5, generator=generator)
