"""What the original code of BEATs, PaSST, MuQ and others computes, as fixtures for tests/encoders/test_written.py.

Run in the environment of requirements-encoders.txt, which Otoscope itself does not need:

    python benchmarks/encoder_oracles.py [FAMILY ...]

Each family's own code is built at a tiny size and given seeded numbers as weights (tests/helpers/seeded.py). A fixture
holds configuration, names and shapes of the state dict as the original saves it, and the features and states of two
clips: numbers only.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "tests" / "encoders" / "fixtures"
sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))

import seeded  # noqa: E402

CONFORMER = {
    "activation_dropout": 0.1, "attention_dropout": 0.1, "conformer_conv_dropout": 0.1,
    "conv_depthwise_kernel_size": 7, "hidden_act": "swish", "hidden_dropout": 0.1, "intermediate_size": 40,
    "layer_norm_eps": 1e-5, "layerdrop": 0.0, "max_source_positions": 5000, "num_attention_heads": 2,
    "num_conv_pos_embedding_groups": 2, "num_conv_pos_embeddings": 8, "position_embeddings_type": "rotary",
    "rotary_embedding_base": 10000,
}  # fmt: skip
STAT = {"melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.417922652295623}


class Absent:
    """Stand in for packages that are imported by name only: images and texts."""

    names = ("torchvision", "ftfy", "x_clip", "transformers.deepspeed")

    def find_spec(self, name: str, path=None, target=None):
        if name in self.names or name.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__version__ = [], spec, "0"
        module.is_deepspeed_zero3_enabled = lambda: False
        return module

    def exec_module(self, module) -> None: ...


def filled(model: torch.nn.Module, keep: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Give a model seeded weights, but for those that are formulas; return its shapes and what was kept."""
    state = model.state_dict()
    kept = {key: value.numpy() for key, value in state.items() if key.endswith(keep)} if keep else {}
    shapes = {key: tuple(value.shape) for key, value in state.items() if key not in kept}
    given = seeded.weights(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in given.items()}, strict=False)
    model.eval()
    return {"shapes": np.array(json.dumps(shapes)), **{f"kept/{key}": value for key, value in kept.items()}}


def caught(blocks, final, run) -> dict[str, np.ndarray]:
    """Return the states before and after each block, and what the last norm gives."""
    states: dict[str, torch.Tensor] = {}

    def enters(module, args, kwargs):
        states["state/0"] = args[0] if args else next(iter(kwargs.values()))

    handles = [blocks[0].register_forward_pre_hook(enters, with_kwargs=True)]
    for i, block in enumerate(blocks, start=1):
        handles.append(
            block.register_forward_hook(
                lambda module, args, out, i=i: states.__setitem__(
                    f"state/{i}", out[0] if isinstance(out, tuple) else out
                )
            )
        )
    if final is not None:
        handles.append(final.register_forward_hook(lambda m, a, out: states.__setitem__("state/final", out)))
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return {key: value.numpy().copy() for key, value in states.items()}


def beats() -> dict[str, dict]:
    from speechbrain.lobes.models.beats import BEATs

    base = {
        "input_patch_size": 16, "embed_dim": 24, "conv_bias": False, "encoder_layers": 3, "encoder_embed_dim": 32,
        "encoder_ffn_embed_dim": 48, "encoder_attention_heads": 2, "activation_fn": "gelu",
        "layer_wise_gradient_decay_ratio": 0.6, "conv_pos": 16, "conv_pos_groups": 4,
        "relative_position_embedding": True, "num_buckets": 16, "max_distance": 40, "gru_rel_pos": True,
        "finetuned_model": True, "predictor_class": 5,
    }  # fmt: skip
    made = {}
    for name, more in (
        ("beats", {"layer_norm_first": False, "deep_norm": True}),
        ("beats_norm_first", {"layer_norm_first": True, "deep_norm": False, "gru_rel_pos": False}),
    ):
        config = {**base, **more}
        torch.manual_seed(0)
        import speechbrain.lobes.models.beats as module

        settings = module.BEATsConfig(config)
        original = module.BEATsConfig
        module.BEATsConfig = lambda cfg=None, settings=settings: settings
        model = BEATs(output_all_hiddens=True)
        module.BEATsConfig = original
        fixture = filled(model)
        # The blocks share one bias: each name of it holds the numbers of the last.
        shared = model.encoder.layers[0].self_attn.relative_attention_bias.weight.detach().numpy()
        sounds = seeded.sounds(14_480)
        waves = torch.from_numpy(sounds)
        fixture["kept/bias"] = shared
        fixture["features"] = model.preprocess(waves[:1]).numpy()
        final = model.encoder.layer_norm if more["layer_norm_first"] else None
        states = caught(model.encoder.layers, final, partial(model, waves, torch.ones(2)))
        states = {
            key: value.transpose(1, 0, 2) if key != "state/final" else value for key, value in states.items()
        }
        made[name] = {"config": np.array(json.dumps(config)), "sounds": np.array(14_480), **fixture, **states}
    return made


def passt() -> dict[str, dict]:
    from hear21passt.models.passt import PaSST
    from hear21passt.models.preprocess import AugmentMelSTFT

    model = PaSST(
        img_size=(128, 130), patch_size=16, stride=(10, 10), embed_dim=64, depth=3, num_heads=1, mlp_ratio=1.0,
        num_classes=5, distilled=True,
    )  # fmt: skip
    mel = AugmentMelSTFT(
        n_mels=128, sr=32000, win_length=800, hopsize=320, n_fft=1024, freqm=48, timem=192, htk=False, fmin=0.0,
        fmax=None, norm=1, fmin_aug_range=10, fmax_aug_range=2000,
    ).eval()  # fmt: skip
    fixture = filled(model)
    waves = torch.from_numpy(seeded.sounds(16_000))
    features = mel(waves)
    states = caught(model.blocks, model.norm, lambda: model(features[:, None]))
    return {
        "passt": {
            "sounds": np.array(16_000),
            "features": features[:1].transpose(1, 2).numpy(),
            **fixture,
            **states,
        }
    }


def muq_and_musicfm() -> dict[str, dict]:
    from muq.muq.models.muq_model import MuQModel
    from muq.muq.modules import flash_conformer
    from transformers import Wav2Vec2ConformerConfig

    made = {}
    for name, label_rate in (("muq", 25), ("muq_50hz", 50)):
        config = {
            "label_rate": label_rate, "num_codebooks": 1, "codebook_dim": 16, "codebook_size": 32,
            "features": ["melspec_2048"], "hop_length": 240, "n_mels": 128, "conv_dim": 8, "encoder_dim": 32,
            "encoder_depth": 3, "mask_hop": 0.4, "mask_prob": 0.6, "is_flash": False, "stat": STAT,
            "w2v2_config": {**CONFORMER, "feat_extract_activation": "gelu"},
        }  # fmt: skip
        model = MuQModel(**config)
        # The conformer that the authors ship with it, so that the one of transformers is checked by another.
        # Its attention asks for a GPU's kernel, and would drop out in evaluation too.
        torch.backends.cuda.sdp_kernel = lambda **_: nullcontext()
        body = Wav2Vec2ConformerConfig(
            **{**CONFORMER, "attention_dropout": 0.0}, num_hidden_layers=3, hidden_size=32
        )
        model.conformer = flash_conformer.Wav2Vec2ConformerEncoder(body)
        fixture = filled(model, keep=("inv_freq",))
        waves = torch.from_numpy(seeded.sounds(24_100))
        features = model.normalize(model.preprocessing(waves, features=["melspec_2048"]))["melspec_2048"]
        states = caught(
            model.conformer.layers, model.conformer.layer_norm, partial(model.get_predictions, waves)
        )
        made[name] = {
            "config": np.array(json.dumps(config)), "sounds": np.array(24_100),
            "features": features[:1].transpose(1, 2).numpy(), **fixture, **states,
        }  # fmt: skip
    return made


def dasheng() -> dict[str, dict]:
    from dasheng.pretrained.pretrained import Dasheng

    config = {"embed_dim": 32, "depth": 3, "num_heads": 2, "mlp_ratio": 1.5, "target_length": 200}
    model = Dasheng(patch_size=(64, 4), patch_stride=(64, 4), **config)
    fixture = filled(model, keep=("window", "fb"))
    fixture = {key: value for key, value in fixture.items() if not key.startswith("kept/front_end")}
    waves = torch.from_numpy(seeded.sounds(14_480))
    found = [
        (model.front_end(wave[None]), caught(model.blocks, model.norm, partial(model, wave[None])))
        for wave in waves  # one by one: its floor is the batch's
    ]
    states = {key: np.concatenate([own[key] for _, own in found]) for key in found[0][1]}
    features = found[0][0].transpose(1, 2).numpy()
    about = {"config": np.array(json.dumps(config)), "sounds": np.array(14_480), "features": features}
    return {"dasheng": {**about, **fixture, **states}}


def audiomae() -> dict[str, dict]:
    import timm
    import torchaudio.compliance.kaldi as kaldi

    made = {}
    for name, pool in (("audiomae", "avg"), ("audiomae_token", "token")):
        args = {
            "img_size": [96, 128], "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "mlp_ratio": 1.5,
            "global_pool": pool, "num_classes": 0,
        }  # fmt: skip
        config = {
            "architecture": "vit_base_patch16_224",
            "model_args": args,
            "pretrained_cfg": {"tag": "tiny"},
        }
        model = timm.create_model(config["architecture"], **args)
        fixture = filled(model)
        waves = torch.from_numpy(seeded.sounds(14_480))
        fbank = partial(kaldi.fbank, htk_compat=True, window_type="hanning", num_mel_bins=128)
        features = torch.stack([fbank(wave[None]) for wave in waves])
        features = torch.nn.functional.pad(features, (0, 0, 0, 96 - features.shape[1]))
        features = (features + 4.2677393) / (2 * 4.5689974)
        final = model.norm if pool == "token" else None
        states = caught(model.blocks, final, partial(model.forward_features, features[:, None]))
        made[name] = {
            "config": np.array(json.dumps(config)), "sounds": np.array(14_480), "features": features[:1].numpy(),
            **fixture, **states,
        }  # fmt: skip
    return made


FAMILIES = {"beats": beats, "passt": passt, "muq": muq_and_musicfm, "dasheng": dasheng, "audiomae": audiomae}


def main(asked: list[str]) -> None:
    sys.meta_path.insert(0, Absent())
    FIXTURES.mkdir(exist_ok=True)
    versions = SimpleNamespace(torch=torch.__version__)
    for family in asked or FAMILIES:
        for name, fixture in FAMILIES[family]().items():
            path = FIXTURES / f"{name}.npz"
            np.savez_compressed(path, **fixture)
            states = sorted(key for key in fixture if key.startswith("state/"))
            print(f"{path.name}: {path.stat().st_size // 1000} kB, {states}, torch {versions.torch}")


if __name__ == "__main__":
    main(sys.argv[1:])
