"""Contenders of ``saes.py``: ours, a plain loop, and other libraries' own training steps with their best settings.

Every library gets PyTorch's fused Adam where that is faster than what it makes by itself.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from otoscope.saes import TopKConfig
from otoscope.saes.training.bank import Bank
from otoscope.saes.training.stack import Schedule

LR = 1e-3


@dataclass
class Contender:
    """A way to train one TopK autoencoder."""

    name: str
    train: Callable[[Tensor, int], object]
    """Takes rows and the size of a batch, and steps through the batches in order."""
    reconstruct: Callable[[Tensor], Tensor]


def stepping(step: Callable[[Tensor], object]) -> Callable[[Tensor, int], None]:
    """Return the loop over batches that a user writes round `step`."""

    def train(rows: Tensor, batch: int) -> None:
        for x in rows.split(batch):
            step(x)

    return train


def plain(width: int, n_latents: int, k: int) -> Contender:
    """Linear, ReLU, topk, scatter, Linear, PyTorch's default Adam, float32."""
    step, reconstruct = plain_step(width, n_latents, k)
    return Contender("plain", stepping(step), reconstruct)


def plain_step(
    width: int, n_latents: int, k: int, device: str = "cpu"
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    torch.manual_seed(0)
    encoder = nn.Linear(width, n_latents, device=device)
    decoder = nn.Linear(n_latents, width, bias=False, device=device)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LR)

    def reconstruct(x: Tensor) -> Tensor:
        hidden = torch.relu(encoder(x))
        values, indices = hidden.topk(k, dim=-1)
        return decoder(torch.zeros_like(hidden).scatter(-1, indices, values))

    def step(x: Tensor) -> Tensor:
        loss = nn.functional.mse_loss(reconstruct(x), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step, reconstruct


def ours(half: bool) -> Callable[[int, int, int], Contender | None]:
    def make(width: int, n_latents: int, k: int) -> Contender | None:
        if half and not torch.cpu._is_avx512_bf16_supported():
            return None
        config = TopKConfig(n_latents=n_latents, k=k)
        bank = Bank([config], {0: torch.zeros(1, width)}, (0,), dtype=torch.float32, half=half)
        (sae,), schedule = bank.saes, Schedule(LR, 10**9)

        def reconstruct(x: Tensor) -> Tensor:
            sae.eval()
            return sae(x)

        name = f"otoscope {'bf16' if half else 'float32'}"
        return Contender(name, lambda rows, batch: bank.train_block({0: rows}, batch, schedule), reconstruct)

    return make


def overcomplete(width: int, n_latents: int, k: int) -> Contender | None:
    if "overcomplete" not in sys.modules:  # its top level imports vision models that training does not need
        found = importlib.util.find_spec("overcomplete")
        if found is None:
            return None
        package = types.ModuleType("overcomplete")
        package.__path__ = list(found.submodule_search_locations or [])
        sys.modules["overcomplete"] = package
    from overcomplete.sae import TopKSAE

    model = TopKSAE(width, nb_concepts=n_latents, top_k=k)
    optimiser = torch.optim.Adam(model.parameters(), lr=LR, fused=True)

    def step(x: Tensor) -> None:
        optimiser.zero_grad()
        _, _, reconstruction = model(x)
        (reconstruction - x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return Contender("overcomplete, fused Adam", stepping(step), lambda x: model(x)[2])


def sparsify(width: int, n_latents: int, k: int) -> Contender | None:
    if importlib.util.find_spec("sparsify") is None:
        return None
    from sparsify import SparseCoder, SparseCoderConfig

    model = SparseCoder(width, SparseCoderConfig(num_latents=n_latents, k=k))
    optimiser = torch.optim.Adam(model.parameters(), lr=LR, fused=True)

    def step(x: Tensor) -> None:
        model.set_decoder_norm_to_unit_norm()
        model(x).fvu.backward()
        model.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()

    return Contender("sparsify, fused Adam", stepping(step), lambda x: model(x).sae_out)


def saelens(sparse: bool) -> Callable[[int, int, int], Contender | None]:
    def make(width: int, n_latents: int, k: int) -> Contender | None:
        if importlib.util.find_spec("sae_lens") is None:
            return None
        from sae_lens.saes.sae import TrainStepInput
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

        options = TopKTrainingSAEConfig(
            d_in=width,
            d_sae=n_latents,
            k=k,
            use_sparse_activations=sparse,
            rescale_acts_by_decoder_norm=False,
        )
        model = TopKTrainingSAE(options)
        optimiser = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
        dead = torch.zeros(n_latents, dtype=torch.bool)

        def step(x: Tensor) -> None:
            given = TrainStepInput(
                sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
            )
            model.training_forward_pass(given).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

        return Contender(f"SAELens{' sparse' if sparse else ''}, fused Adam", stepping(step), model)

    return make


def dictionary_learning(width: int, n_latents: int, k: int) -> Contender | None:
    if importlib.util.find_spec("dictionary_learning") is None:
        return None
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps=10**6, activation_dim=width, dict_size=n_latents, k=k, layer=0, lm_name="", lr=LR, device="cpu"
    )
    trainer.optimizer = torch.optim.Adam(trainer.ae.parameters(), lr=LR, fused=True)
    done = [0]

    def step(x: Tensor) -> None:
        trainer.update(done[0], x)
        done[0] += 1

    return Contender("dictionary_learning, fused Adam", stepping(step), trainer.ae)


CONTENDERS: dict[str, Callable[[int, int, int], Contender | None]] = {
    "plain": plain,
    "otoscope float32": ours(False),
    "otoscope bf16": ours(True),
    "overcomplete": overcomplete,
    "sparsify": sparsify,
    "SAELens": saelens(False),
    "SAELens sparse": saelens(True),
    "dictionary_learning": dictionary_learning,
}
