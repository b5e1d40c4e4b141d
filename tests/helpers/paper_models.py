"""The paper's four architectures at a small random size, saved under their own names as a user would have them."""

from __future__ import annotations

import json
from pathlib import Path


def write_paper_models(root: Path) -> list[Path]:
    """Write folders ``ast, wavlm-base-plus, hubert-base, mert-v1-95m`` (12 blocks of width 16) and return them."""
    import torch
    import transformers
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        HubertConfig,
        Wav2Vec2FeatureExtractor,
        WavLMConfig,
    )

    size = {"hidden_size": 16, "num_hidden_layers": 12, "num_attention_heads": 2, "intermediate_size": 32}
    stem = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    models = {
        "ast": (
            transformers.ASTForAudioClassification(ASTConfig(**size, frequency_stride=64, time_stride=16)),
            ASTFeatureExtractor(),
        ),
        "wavlm-base-plus": (
            transformers.WavLMModel(WavLMConfig(**size, **stem)),
            Wav2Vec2FeatureExtractor(do_normalize=False),
        ),
        "hubert-base": (
            transformers.HubertModel(HubertConfig(**size, **stem)),
            Wav2Vec2FeatureExtractor(do_normalize=True),
        ),
        "mert-v1-95m": (
            transformers.HubertModel(HubertConfig(**size, **stem)),
            Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=24_000),
        ),
    }
    torch.manual_seed(0)
    for name, (model, extractor) in models.items():
        model.save_pretrained(root / name)
        extractor.save_pretrained(root / name)
    config = root / "mert-v1-95m" / "config.json"
    changes = {
        "model_type": "mert_model",
        "sample_rate": 24_000,
        "feature_extractor_cqt": False,
        "deepnorm": False,
    }
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return [root / name for name in models]
