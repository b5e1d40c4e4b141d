"""Keep latents alive: give those that fall silent another start; on request, start each at a data point.

Reviving is the "neuron resampling" of Bricken et al., "Towards Monosemanticity" (2023), with four differences that
small runs asked for: it acts after every epoch; a latent is dead when it is silent on a sample of the training rows;
the new encoder row is as long as a living one, not a fifth of it, so that the latent does win its rows; and the new
atom is a tenth as long, so that it does no harm before it has learnt. A latent that starts at a training row fires on
it and on its neighbours.

Kinds whose rows share a batch's codes (batch-topk, matryoshka) are never revived, but left to their own AuxK: their
atoms have norm 1 at once, so that one revived latent adds a whole row, and any number of them may be on in the same
row. On 720 rows of Whisper the error rose 20-fold within eight epochs (FVU on new speakers .56 with reviving and .31
without, for matryoshka 1.50 and .27; 989 to 1,024 of 1,024 latents alive either way).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.training.stack import Stack

REVIVE_UNTIL = 0.97
"""Share of training after which latents are left alone, to settle; the learning rate is nearly 0 by then."""
SAMPLE_ROWS = 16_384
"""Training rows on which a latent must be silent to count as dead."""
QUIET_START = 0.1
"""Norm of a revived atom, in units of the living ones' mean: it fires at once, but adds little until it has learnt."""
ATOMS = ("encoder_weight", "decoder_weight")


@torch.no_grad()
def start_from_data(sae: SparseAutoencoder, rows: Tensor) -> None:
    """Turn each latent of a fresh autoencoder towards a row, drawn with its seed, without replacement.

    Encoder and decoder rows keep the norms they were drawn with; encoder biases become 0. Rows are taken from their
    mean. Where there are fewer rows than latents, the latents left over turn towards sums of two rows.

    Parameters
    ----------
    sae
        Kinds without ``encoder_weight`` and ``decoder_weight`` among their parameters are left as they are, and so are
        those of unit norm: overlapping atoms and encoders of norm 1 add up to many times the row, from which they do
        not recover in thousands of steps (FVU .33 against .17 for topk-gao, .44 for batch-topk).
    rows : [rows, n_inputs]
        Training rows, as training sees them.
    """
    own = dict(sae.named_parameters())
    if not _has_atoms(own) or getattr(sae, "unit_norm", False):
        return
    generator = torch.Generator().manual_seed(sae.seed)
    directions = normalize(rows - rows.mean(0), dim=-1)
    directions = directions[directions.norm(dim=-1) > 0.5]  # a row at the mean has none
    if not len(directions):
        return
    order = torch.randperm(len(directions), generator=generator)[: sae.n_latents]
    chosen = directions[order.to(rows.device)]
    n_left = sae.n_latents - len(chosen)
    if n_left:
        pairs = torch.randint(len(directions), (2, n_left), generator=generator).to(rows.device)
        sums = directions[pairs[0]] + directions[pairs[1]]
        chosen = torch.cat([chosen, normalize(sums, dim=-1)])
    for name in ATOMS:
        own[name].copy_(chosen * own[name].norm(dim=-1, keepdim=True))
    if "encoder_bias" in own:
        own["encoder_bias"].zero_()


@torch.no_grad()
def revive(stacked: Stack, rows: Tensor, epoch: int) -> int:
    """Restart the dead latents of every member of a stack; returns how many there were.

    The direction of a new atom is that of a row, less what the decoder adds to every row, drawn in proportion to the
    squared error of its reconstruction. The encoder's row is along it, as long as the living ones on average; the
    atom a tenth as long as they are (kinds of unit norm make it 1 at the next step). Every other number of the latent
    (its bias, its threshold) becomes the living ones' mean, and Adam forgets the latent.

    Parameters
    ----------
    stacked
        Members whose parameters have a first dimension ``n_latents``; kinds without ``encoder_weight`` and
        ``decoder_weight`` among their parameters are left alone, and those that select codes from a whole batch.
    rows : [rows, n_inputs]
        Training rows, always the same ones.
    epoch
        With each member's seed, what the drawing is seeded with.
    """
    module = stacked.module
    own = dict(module.named_parameters())
    if not _has_atoms(own) or module.selection.by == "batch":
        return 0
    counts, errors = stacked.silence(rows[:SAMPLE_ROWS])
    n_dead = 0
    for index, sae in enumerate(stacked.saes):
        dead = counts[index] == 0
        if not dead.any() or dead.all():
            continue
        n_dead += int(dead.sum())
        generator = torch.Generator().manual_seed(1_000_003 * sae.seed + epoch)
        chosen = _draw(errors[index], int(dead.sum()), generator).to(rows.device)
        bias = own.get("decoder_bias")
        centre = 0.0 if bias is None else _member(bias, index, stacked)
        directions = normalize(rows[chosen] - centre, dim=-1)
        for name, parameter in own.items():
            values = _member(parameter, index, stacked)
            if name in ATOMS:
                norm = values[~dead].norm(dim=-1).mean()
                values[dead] = directions * norm * (QUIET_START if name == "decoder_weight" else 1.0)
            elif name != "decoder_bias":
                values[dead] = values[~dead].mean(0)
            for moment in ("mean", "square"):
                if name != "decoder_bias":
                    _member(stacked.optimiser.tensors()[f"{moment}.{name}"], index, stacked)[dead] = 0
    return n_dead


def _has_atoms(parameters: dict[str, torch.nn.Parameter]) -> bool:
    return set(ATOMS) <= set(parameters)


def _member(values: Tensor, index: int, stacked: Stack) -> Tensor:
    """Return one member's part of a stacked tensor, as a view."""
    return values[index] if stacked.n_members > 1 else values


def _draw(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw `n` rows in proportion to `weights` [rows]; again from all of them where there are fewer."""
    weights = weights.double().cpu().clamp_min(0) + 1e-30
    enough = n <= len(weights)
    return torch.multinomial(weights, n, replacement=not enough, generator=generator)
