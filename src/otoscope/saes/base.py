"""What all sparse autoencoders share: a config, three methods, weights that may be stacked, and files."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from otoscope.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from otoscope.compute import Lanes
    from otoscope.saes.adam import Adam


@dataclass(frozen=True, kw_only=True)
class SAEConfig:
    """What makes an architecture, save for the width of its input. Every kind adds its own options."""

    kind: ClassVar[str]

    n_latents: int
    """Width of the code."""

    def __post_init__(self) -> None:
        if not isinstance(self.n_latents, int) or self.n_latents < 1:
            raise InputError(f"n_latents must be a positive whole number, got {self.n_latents!r}")

    @property
    def name(self) -> str:
        """Short name for folders and tables, e.g. ``topk-2048-s0.95``."""
        return f"{self.kind}-{self.n_latents}"

    @property
    def active(self) -> int | None:
        """How many latents may be active at once (k), where the kind fixes it."""
        return None

    @property
    def sparsity_target(self) -> float | None:
        """The fraction of latents kept silent, where the kind fixes it."""
        asked = getattr(self, "sparsity", None)
        if asked is not None:
            return asked
        return None if self.active is None else 1 - self.active / self.n_latents

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, ready for JSON."""
        return asdict(self)


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
    history : pandas.DataFrame or None
        A row per epoch, once trained (see :func:`otoscope.saes.train_saes`).
    about : dict
        Free notes kept in ``config.json``: what it was trained on, its numbers.
    """

    config_class: ClassVar[type[SAEConfig]]
    stackable: ClassVar[bool] = False

    def __init__(self, config: SAEConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__()
        if n_inputs < 1:
            raise InputError(f"n_inputs must be positive, got {n_inputs}")
        self.config: Any = config
        self.members: tuple[Any, ...] = (config,)
        self.n_inputs = n_inputs
        self.seed = seed
        self.layer: int | str | None = None
        self.history: pd.DataFrame | None = None
        self.about: dict[str, Any] = {}
        self.progress = 1.0  # share of training that is done; the trainer sets it
        self.half_products = False  # whether training computes products in bfloat16

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
        """Return the reconstruction of `x`."""
        return self.decode(self.encode(x))

    def loss(self, x: Tensor) -> Loss:
        """Return what training minimises on the rows `x`; by default the mean squared error."""
        mse = mean_squared_error(self(x), x)
        return Loss(mse, mse)

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction of `x` and, for each latent, in how many rows it is active."""
        z = self.encode(x)
        return self.decode(z), (z != 0).sum(-2)

    def backward(self, x: Tensor) -> Tensor:
        """Fill every parameter's ``.grad`` for one step on `x` and return the mean squared error.

        By default through autograd; a kind may write its gradients out.
        """
        for parameter in self.parameters():
            parameter.grad = None
        with torch.enable_grad():
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half_products):
                loss = self.loss(x)
            loss.total.sum().backward()
        return loss.mse.detach()

    def train_step(self, x: Tensor, optimiser: Adam, lr: float, lanes: Lanes) -> Tensor:
        """Take a whole step on the rows ``x [rows, n_inputs]`` and return the mean squared error.

        By default `backward` and the optimiser, with PyTorch's threads; a kind may have a faster way, for which
        `lanes` are the cores that it may use.
        """
        mse = self.backward(x)
        self.adjust_gradients()
        optimiser.step(lr)
        self.after_step()
        return mse

    def init_from_data(self, x: Tensor) -> None:
        """Set what depends on the data (a bias at its mean, say) from rows ``x [rows, n_inputs]``, before training."""

    def adjust_gradients(self) -> None:
        """Change gradients between `backward` and the optimiser's step."""

    def after_step(self) -> None:
        """Restore constraints on the weights after an optimiser step (unit norm, say)."""

    def ramp(self, share: float) -> float:
        """Return how far a penalty has risen that grows over the first `share` of training."""
        return min(1.0, self.progress / share) if share > 0 else 1.0

    def check_input(self, x: Tensor) -> None:
        """Refuse activations of another width.

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
        from otoscope.saes.files import save_sae

        return save_sae(self, Path(directory))

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> Self:
        """Load an autoencoder from a directory or a Hugging Face Hub id.

        Raises
        ------
        ModelError
            If there is none, or it cannot be read safely.
        """
        from otoscope.saes.files import load_sae

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
        from otoscope.saes.hub import push

        return push(self, repo_id, folder=folder, private=private, message=message)


def stack(saes: Sequence[SparseAutoencoder]) -> SparseAutoencoder:
    """Return one module whose weights are those of `saes` along a new first dimension; one SAE stays as it is."""
    first = saes[0]
    if len(saes) == 1:
        return first
    stacked = copy.deepcopy(first)
    stacked.members = tuple(sae.config for sae in saes)
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
    """Mean of the squared differences over rows and dimensions, one value for each leading index."""
    return (reconstruction - x).square().mean(dim=(-2, -1))


def linear_weight(n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
    """Draw a weight ``[n_out, n_in]`` as ``torch.nn.Linear`` does by default."""
    return nn.init.kaiming_uniform_(torch.empty(n_out, n_in), a=5**0.5, generator=generator)


def linear_bias(n_out: int, n_in: int, generator: torch.Generator) -> Tensor:
    """Draw a bias ``[n_out]`` as ``torch.nn.Linear`` does by default."""
    return nn.init.uniform_(torch.empty(n_out), -(n_in**-0.5), n_in**-0.5, generator=generator)
