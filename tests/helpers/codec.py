"""A small random EnCodec that says something of what it hears."""

from __future__ import annotations

from pathlib import Path


def save_codec(folder: Path) -> Path:
    """Save it and return its folder: no biases, and code words as far apart as sounds are."""
    import torch
    from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel

    torch.manual_seed(0)
    config = EncodecConfig(num_filters=4, hidden_size=16, upsampling_ratios=[5, 4, 2], codebook_size=16,
                           codebook_dim=16, num_lstm_layers=1)  # fmt: skip
    model = EncodecModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            if "original0" in name:  # how long a convolution's filters are
                parameter.mul_(1.5)
        for layer in model.quantizer.layers:
            layer.codebook.embed.normal_(0, 0.07)
    model.save_pretrained(folder)
    EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(folder)
    return folder
