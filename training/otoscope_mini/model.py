"""The model that is trained: transformers' `HubertModel` and, while training, a head that names masked frames."""

import numpy as np
import torch
from settings import Settings
from torch import nn
from torch.nn import functional
from transformers import HubertConfig, HubertModel


class MaskedPredictor(nn.Module):
    """HuBERT's pretraining objective (Hsu et al. 2021, section II), for several sets of units at once.

    The probability of unit u is softmax over cos(A h, e_u) / temperature + log share(u), with a projection A per set of
    units. The shares spare the states from having to carry how frequent a unit is.

    Parameters
    ----------
    shares
        Set of units -> [units] share of all frames.
    """

    def __init__(self, settings: Settings, shares: dict[str, np.ndarray]):
        super().__init__()
        self.temperature = settings.temperature
        self.unmasked_weight = settings.unmasked_weight
        self.hubert = HubertModel(hubert_config(settings))
        self.projections = nn.ModuleDict(
            {name: nn.Linear(settings.width, settings.code_width) for name in shares}
        )
        self.codes = nn.ParameterDict(
            {name: nn.Parameter(0.1 * torch.randn(len(s), settings.code_width)) for name, s in shares.items()}
        )
        for name, share in shares.items():
            self.register_buffer(f"log_share_{name}", torch.from_numpy(np.log(share)).float())

    def forward(self, waveforms: torch.Tensor, masked: torch.Tensor, targets: dict[str, torch.Tensor]):
        """Loss and, per set of units, accuracy on masked frames.

        Parameters
        ----------
        waveforms
            [crops, samples] float32.
        masked
            [crops, frames] bool.
        targets
            Set of units -> [crops, frames] int64.
        """
        states = self.hubert(waveforms, mask_time_indices=masked).last_hidden_state
        weights = torch.where(masked, 1.0, self.unmasked_weight)
        weights = weights / weights.sum()
        losses, accuracies = [], {}
        for name, units in targets.items():
            projected = functional.normalize(self.projections[name](states).float(), dim=-1)
            logits = projected @ functional.normalize(self.codes[name], dim=-1).T / self.temperature
            logits = logits + self.get_buffer(f"log_share_{name}")
            losses.append((functional.cross_entropy(logits.mT, units, reduction="none") * weights).sum())
            accuracies[name] = (logits.detach().argmax(-1) == units)[masked].float().mean().item()
        return torch.stack(losses).mean(), accuracies


def hubert_config(settings: Settings) -> HubertConfig:
    """HuBERT-base's configuration (group norm in the stem, 50 frames a second) with smaller numbers."""
    return HubertConfig(
        hidden_size=settings.width,
        intermediate_size=settings.ffn_width,
        num_hidden_layers=settings.n_blocks,
        num_attention_heads=settings.n_heads,
        conv_dim=(settings.stem_width,) * 7,
        num_conv_pos_embeddings=settings.position_kernel,
        num_conv_pos_embedding_groups=settings.position_groups,
        feat_extract_norm="group",
        # a small model that seldom hears the same crop twice needs no dropout
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        attn_implementation="eager",  # faster than fused attention on the CPU at 50 to 100 frames
    )


def draw_mask(rng: np.random.Generator, n_crops: int, frames: int, *, share: float, span: int) -> np.ndarray:
    """[n_crops, frames] bool: spans from independent starts, `share` of the frames masked on average."""
    span = min(span, frames)
    # a frame stays visible if none of the `span` possible starts before it was drawn
    starts = rng.random((n_crops, frames + span - 1)) < 1 - (1 - share) ** (1 / span)
    masked = np.lib.stride_tricks.sliding_window_view(starts, span, axis=1).any(axis=-1)
    masked[np.arange(n_crops), rng.integers(0, frames, n_crops)] = True  # never a crop without a target
    return masked
