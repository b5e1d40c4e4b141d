"""Training: the bank against autoencoders trained one by one, which epoch is kept, options, bad input."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.activations import Activations
from otoscope.compute import Lanes
from otoscope.errors import InputError
from otoscope.saes import TopKConfig, make_config, make_configs, reconstruction_metrics
from otoscope.saes import train_saes as train
from otoscope.saes.base import build_sae
from otoscope.saes.fast.adam import Adam
from otoscope.saes.fast.step import backward, train_step
from otoscope.saes.training.bank import Bank, trains_alike_beside_others
from otoscope.saes.training.options import AS_PUBLISHED
from otoscope.saes.training.stack import Schedule

train_saes = partial(train, **AS_PUBLISHED)  # what the oracles here were written for

CONFIGS = [TopKConfig(n_latents=40, k=k) for k in (2, 3, 20)]
QUICK = {"epochs": 2, "batch_size": 16, "progress": False, "device": "cpu"}


def data(n=200, width=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def one_by_one(config, x, *, seed, epochs, batch_size, lr=1e-3):
    """Train as a user would by hand: autograd, torch's Adam, the documented order of rows."""
    sae = build_sae(config, x.shape[1], seed=seed).to(x.dtype)
    sae.init_from_data(x[np.random.default_rng([0, 0]).permutation(len(x))])
    sae.train()
    optimiser = torch.optim.Adam(sae.parameters(), lr=lr)
    n_steps = epochs * -(-len(x) // batch_size)
    step = 0
    for epoch in range(epochs):
        order = np.random.default_rng([0, epoch]).permutation(len(x))
        for start in range(0, len(x), batch_size):
            optimiser.zero_grad()
            sae.loss(x[order[start : start + batch_size]], step / n_steps).total.backward()
            sae.adjust_gradients()
            optimiser.step()
            sae.after_step()
            step += 1
    return sae.eval()


@pytest.mark.parametrize(
    "configs",
    [
        CONFIGS,
        [make_config("topk-gao", n_latents=40, k=3, dead_after_rows=100)],
        [make_config("relu", n_latents=40, l1=0.1), make_config("jumprelu", n_latents=40)],
        [make_config("batch-topk", n_latents=40, k=3), make_config("gated", n_latents=40, l1=0.1)],
        [
            make_config("matryoshka", n_latents=40, k=3),
            make_config("archetypal", n_latents=40, k=3, n_points=8),
        ],
    ],
    ids=lambda configs: "+".join(config.kind for config in configs),
)
def test_a_bank_equals_one_by_one_after_50_steps_in_float64(configs):
    x = {1: data(400).astype(np.float64), 4: data(400, seed=1).astype(np.float64)}
    bank = train_saes(x, configs, seeds=(0, 1), **{**QUICK, "precision": "float64"})  # 2 x 25 steps
    assert [(s.layer, s.config, s.seed) for s in bank] == [
        (i, c, n) for i in (1, 4) for c in configs for n in (0, 1)
    ]
    for sae in bank:
        alone = one_by_one(sae.config, torch.from_numpy(x[sae.layer]), seed=sae.seed, epochs=2, batch_size=16)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(sae.state_dict()[name], value, rtol=1e-9, atol=1e-9)


def test_a_bank_equals_one_by_one_in_float32():
    x = data(400)
    for sae in train_saes({0: x}, CONFIGS, **{**QUICK, "epochs": 20}):
        alone = one_by_one(sae.config, torch.from_numpy(x), seed=0, epochs=20, batch_size=16)
        fvu = reconstruction_metrics(sae, x).fvu
        assert fvu == pytest.approx(reconstruction_metrics(alone, x).fvu, rel=0.01)


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[2]], ids=["sparse", "dense"])
def test_a_bank_of_one_is_bit_identical_to_the_module_alone(config):
    x = torch.from_numpy(data(64))
    (sae,) = train_saes({0: x}, [config], **{**QUICK, "batch_size": 64})
    alone = build_sae(config, 12).train()
    optimiser = Adam(alone.named_parameters())
    for epoch in range(2):
        train_step(alone, x[np.random.default_rng([0, epoch]).permutation(64)], optimiser, 1e-3, Lanes())
    for name, value in alone.state_dict().items():
        assert torch.equal(sae.state_dict()[name], value)


def test_adam_is_torchs_fused_adam_to_the_bit():
    ours, theirs = (build_sae(CONFIGS[2], 12).train() for _ in range(2))
    optimisers = Adam(ours.named_parameters()), torch.optim.Adam(theirs.parameters(), lr=1e-3, fused=True)
    for seed in range(3):
        for sae in (ours, theirs):
            backward(sae, torch.from_numpy(data(64, seed=seed)))
        optimisers[0].step(1e-3)
        optimisers[1].step()
    assert all(torch.equal(theirs.state_dict()[name], value) for name, value in ours.state_dict().items())


def test_the_same_call_gives_the_same_bits():
    first, second = (train_saes({0: data()}, CONFIGS, seeds=(5,), **QUICK) for _ in range(2))
    for a, b in zip(first, second):
        assert all(torch.equal(a.state_dict()[name], value) for name, value in b.state_dict().items())
    (other,) = train_saes({0: data()}, CONFIGS[:1], seeds=(5,), data_seed=1, **QUICK)
    assert not torch.equal(other.encoder_weight, first[0].encoder_weight)


def test_each_keeps_its_own_best_epoch_over_all_validation_rows():
    x, validation = data(60), data(50, seed=9)
    saes = train_saes({0: x}, CONFIGS, validation={0: validation}, **{**QUICK, "epochs": 30, "lr": 0.02})
    for sae in saes:
        history = sae.history
        best = history[history.best].iloc[0]
        assert best.validation_mse == history.validation_mse.min()
        measured = reconstruction_metrics(sae, validation)
        assert measured.mse == pytest.approx(best.validation_mse, rel=1e-6)
        assert measured.fvu == pytest.approx(best.validation_fvu, rel=1e-6)
        assert measured.l0 == pytest.approx(best.l0)
        assert measured.dead_fraction == best.dead_fraction
    assert any(not sae.history.best.iloc[-1] for sae in saes)  # overfitting: the last epoch is not the best


def test_without_validation_the_last_epoch_is_kept():
    (sae,) = train_saes({0: data()}, CONFIGS[:1], **QUICK)
    assert sae.history.best.tolist() == [False, True]
    assert sae.history.validation_mse.isna().all()


def test_the_papers_rule_looks_at_the_last_batch_and_sums_layers():
    x = {0: data(60), 1: data(60, seed=2)}
    validation = {0: data(50, seed=9), 1: data(50, seed=10)}
    options = {**QUICK, "epochs": 12, "lr": 0.02}
    saes = train_saes(x, CONFIGS[:1], validation=validation, select="paper", **options)
    summed = []
    for epochs in range(1, 13):  # the weights after each epoch, from runs that stop there
        stopped = train_saes(x, CONFIGS[:1], **{**options, "epochs": epochs})
        summed.append(sum(reconstruction_metrics(s, validation[s.layer][48:]).mse for s in stopped))
    for sae in saes:
        assert int(sae.history.epoch[sae.history.best].iloc[0]) == int(np.argmin(summed))


def test_crops_take_turns():
    x = data(40)
    crop = np.tile([0, 1], 20)
    (sae,) = train_saes({0: x}, CONFIGS[:1], crop=crop, **{**QUICK, "epochs": 1})
    (only_first,) = train_saes({0: x[::2]}, CONFIGS[:1], **{**QUICK, "epochs": 1})
    # the same rows in an order of their own: compare what epoch 0 saw by its mean error
    assert len(sae.history) == 1
    assert sae.history.train_mse[0] == pytest.approx(only_first.history.train_mse[0], rel=0.05)
    x[1::2] = np.float32(1e4)  # rows of crop 1, which one epoch never sees
    (again,) = train_saes({0: x}, CONFIGS[:1], crop=crop, **{**QUICK, "epochs": 1})
    assert torch.equal(sae.encoder_weight, again.encoder_weight)


def test_a_constant_costs_no_latent_that_is_always_on():
    rng = np.random.default_rng(0)
    codes = (rng.random((3000, 24)) < 0.08) * rng.uniform(0.5, 1.5, (3000, 24))  # sparse, never negative
    x = codes @ rng.normal(size=(24, 12)) + 30
    config = make_config("topk", n_latents=48, k=4)
    raw, auto = (
        reconstruction_metrics(train({0: x}, config, epochs=8, progress=False, **changes)[0], x)
        for changes in (AS_PUBLISHED, {})
    )
    assert (raw.density > 0.5).sum() >= 1
    assert (auto.density > 0.5).sum() == 0
    assert auto.dead_fraction == 0
    assert auto.fvu < raw.fvu


def test_learning_rate_warms_up_and_decays():
    schedule = Schedule(0.1, n_steps=100, warmup_steps=10, decay_fraction=0.2)
    assert schedule(0) == pytest.approx(0.01)
    assert schedule(9) == schedule(50) == pytest.approx(0.1)
    assert schedule(90) == pytest.approx(0.05)
    assert schedule(99) == pytest.approx(0.005)


@pytest.mark.parametrize("kind", ["topk", "topk-gao", "relu", "jumprelu", "gated", "archetypal"])
@pytest.mark.parametrize("normalise", ["center", "scale", "whiten"])
def test_normalisation_folds_into_the_weights(kind, normalise):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 5 * rng.normal(size=6)
    options = {"k": 2} if kind in ("topk", "topk-gao", "archetypal") else {}
    if kind == "archetypal":
        options["n_points"] = 16
    config = make_config(kind, n_latents=24, **options)
    quick = {**QUICK, "precision": "float64"}
    (sae,) = train_saes({0: x}, config, normalise=normalise, **quick)
    mean, covariance = x.mean(0), np.cov(x.T, bias=True)
    floor = 1e-4 * np.diag(covariance).mean()
    if normalise == "center":
        transform = np.eye(6)
    elif normalise == "scale":
        transform = np.diag((np.diag(covariance) + floor) ** -0.5)
    else:
        values, vectors = np.linalg.eigh(covariance)
        transform = vectors @ np.diag((values + floor) ** -0.5) @ vectors.T
    normal = (x - mean) @ transform
    if kind in ("topk", "archetypal"):
        config = dataclasses.replace(config, decoder_bias=True)
    (inner,) = train_saes({0: normal}, config, **quick)
    codes, expected = (s.encode(torch.from_numpy(rows)) for s, rows in ((sae, x), (inner, normal)))
    torch.testing.assert_close(codes, expected, rtol=1e-6, atol=1e-8)
    back = inner.decode(expected).detach().numpy() @ np.linalg.inv(transform) + mean
    np.testing.assert_allclose(sae.decode(codes).detach().numpy(), back, rtol=1e-6, atol=1e-7)


def test_products_in_bf16_stay_close(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)  # slow without, but the same
    x = data(400)
    for config in CONFIGS:
        half, full = (
            train_saes({0: x}, config, **{**QUICK, "epochs": 10, "precision": d})[0]
            for d in ("bf16", "float32")
        )
        assert half.encoder_weight.dtype == torch.float32
        assert not torch.equal(half.encoder_weight, full.encoder_weight)
        a, b = reconstruction_metrics(half, x).fvu, reconstruction_metrics(full, x).fvu
        assert a == pytest.approx(b, rel=0.01)


def test_hardware_without_bf16_is_told_so(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(InputError, match="no bfloat16"):
        train_saes({0: data()}, CONFIGS, **{**QUICK, "precision": "bf16"})


def test_history_goes_to_csv(tmp_path):
    saes = train_saes({0: data()}, CONFIGS, validation={0: data(30)}, log=tmp_path, **QUICK)
    table = pd.read_csv(tmp_path / "training.csv")
    assert table.columns.tolist() == ["layer", "sae", "seed", *saes[0].history.columns]
    assert len(table) == 3 * 2
    mine = (
        table[table.sae == saes[0].config.name].drop(columns=["layer", "sae", "seed"]).reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(mine, saes[0].history, check_exact=False, check_dtype=False)


def test_history_goes_to_tensorboard_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    train_saes({0: data()}, CONFIGS[:1], validation={0: data(30)}, log=tmp_path, **QUICK)
    assert list(tmp_path.glob("events.out.tfevents.*"))


class Chunked(np.ndarray):
    """Rows in chunks, as of Zarr."""

    chunks = (16, 1)


class Store:
    """What training uses of an activations store, with gaps between stretches of rows as skipped clips leave."""

    batches = Activations.batches

    def __init__(self, x, spans):
        self._x = x
        self.layers, self.widths, self.spans = [3], {3: x.shape[1]}, spans
        kept = np.concatenate([np.arange(first, stop) for first, stop in spans])
        self.rows = pd.DataFrame({"clip_id": [f"clip{i}" for i in kept]})
        self.provenance = {"encoder": "test"}

    def array(self, layer):
        return self._x.view(Chunked)

    def layer(self, layer, kept=None):
        values = np.concatenate([self._x[first:stop] for first, stop in self.spans])
        return values if kept is None else values[kept]


def test_stores_train_like_arrays_in_memory():
    store = Store(data(300), [(0, 120), (150, 300)])
    mask = np.arange(270) % 3 > 0
    (sae,) = train_saes(store, CONFIGS[:1], rows=mask, validation_rows=~mask, **QUICK)
    array = store.layer(3)
    (expected,) = train_saes({3: array[mask]}, CONFIGS[:1], validation={3: array[~mask]}, **QUICK)
    assert sae.layer == 3
    assert torch.equal(sae.encoder_weight, expected.encoder_weight)
    assert sae.about["activations"] == {"encoder": "test"}


def test_streams_show_every_row_once_an_epoch(monkeypatch):
    from otoscope.saes.training import rows as source

    monkeypatch.setattr(source, "BLOCK_ROWS", 64)
    monkeypatch.setattr(source, "STREAMED_ROWS", 32)
    store = Store(np.arange(300, dtype=np.float32)[:, None], [(0, 120), (150, 300)])
    kept = np.arange(270) % 3 > 0
    rows = source.StoreRows(store, [3], kept, torch.from_numpy, "training")
    blocks = [block[3].flatten() for block in rows.blocks(0, batch_size=8, data_seed=0)]
    seen = torch.cat(blocks)
    expected = store.layer(3).flatten()[kept]
    assert sorted(seen.tolist()) == expected.tolist()
    assert all(len(block) % 8 == 0 for block in blocks[:-1])
    assert seen.tolist() != expected.tolist()
    again = torch.cat([block[3].flatten() for block in rows.blocks(0, batch_size=8, data_seed=0)])
    assert torch.equal(seen, again)
    other = torch.cat([block[3].flatten() for block in rows.blocks(1, batch_size=8, data_seed=0)])
    assert not torch.equal(seen, other)
    assert rows.n_rows == len(expected)


@pytest.mark.parametrize("normalise", ["none", "scale"])
def test_streamed_training_learns_as_well(normalise):
    store = Store(data(600) + 1, [(0, 600)])
    options = {**QUICK, "epochs": 20, "normalise": normalise}
    streamed = train_saes(store, CONFIGS, validation_rows=np.arange(100), memory_gb=0.0, **options)
    whole = train_saes(store, CONFIGS, validation_rows=np.arange(100), **options)
    for a, b in zip(streamed, whole):
        assert a.history.validation_mse.min() == pytest.approx(b.history.validation_mse.min(), rel=0.1)


def test_rows_that_are_not_finite_name_the_clip():
    x = data(50)
    x[37, 3] = np.nan
    with pytest.raises(
        InputError, match="layer 0: 1 of 50 training rows are not finite, the first is row 37"
    ):
        train_saes({0: x}, CONFIGS, **QUICK)
    for memory_gb in (4.0, 0.0):
        with pytest.raises(InputError, match=r"row 37 \(clip 'clip37'\)"):
            train_saes(Store(x, [(0, 50)]), CONFIGS, memory_gb=memory_gb, **QUICK)
    with pytest.raises(InputError, match="validation rows"):
        train_saes({0: data(50)}, CONFIGS, validation={0: x}, **QUICK)


@pytest.mark.parametrize(
    ("activations", "options", "message"),
    [
        ({0: np.zeros((0, 4), np.float32)}, {}, "not empty"),
        ({0: np.zeros(4, np.float32)}, {}, "rows x features"),
        ({}, {}, "layers"),
        ({0: data()}, {"layers": [1]}, "no training activations of layer"),
        ({0: data(), 1: data(30)}, {}, "differ in their number"),
        ({0: data()}, {"validation": {0: data(width=5)}}, "12 features in training and 5"),
        ({0: data()}, {"validation": {1: data()}}, "no validation activations"),
        ({0: data()}, {"select": "paper"}, "needs validation"),
        ({0: data()}, {"select": "best"}, "select must be"),
        ({0: data()}, {"precision": "int8"}, "precision must be"),
        ({0: data()}, {"normalise": "l2"}, "normalise must be"),
        ({0: data()}, {"epochs": 0}, "epochs must be positive"),
        ({0: data()}, {"batch_size": 0}, "batch_size must be positive"),
        ({0: data()}, {"seeds": (1, 1)}, "seeds must differ"),
        ({0: data()}, {"seeds": ()}, "at least one"),
        ({0: data()}, {"rows": np.zeros(200, bool)}, "leaves no training rows"),
        ({0: data()}, {"rows": np.ones(7, bool)}, "mask of 7 entries"),
        ({0: data()}, {"crop": np.zeros(3)}, "crop has 3 entries"),
        ({0: data()}, {"decay_fraction": 2.0}, "decay_fraction"),
        ({0: data()}, {"epoch": 3}, "no option 'epoch'; did you mean 'epochs'"),
    ],
)
def test_bad_input_is_refused_with_the_reason(activations, options, message):
    with pytest.raises(InputError, match=message):
        train_saes(activations, CONFIGS, **{**QUICK, **options})


def test_two_configs_of_one_name_are_an_error():
    with pytest.raises(InputError, match="two configs are called topk-40-k2"):
        train_saes({0: data()}, [CONFIGS[0], TopKConfig(n_latents=40, k=2, decoder_bias=True)], **QUICK)


def test_banks_stack_equal_shapes_and_use_all_cores():
    rows = {0: torch.zeros(1, 12)}
    bank = Bank([*CONFIGS, make_config("relu", n_latents=40)], rows, (0, 1), dtype=torch.float32)
    assert sum(stacked.n_members for stacked in bank.stacks) == 8
    sizes = {stacked.module.config.kind: stacked.n_members for stacked in bank.stacks}
    assert max(sizes.values()) > 1 or torch.get_num_threads() >= 8
    bank.close()


KINDS = {
    "topk": {}, "topk-gao": {"dead_after_rows": 30}, "batch-topk": {"dead_after_rows": 30},
    "matryoshka": {"dead_after_rows": 30}, "temporal": {"dead_after_rows": 30}, "archetypal": {"n_points": 16},
    "relu": {"l1": 0.05}, "gated": {"l1": 0.05}, "jumprelu": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_comes_out_the_same_by_itself_and_beside_others(kind):
    """To the last bit, whatever the number of threads, where they are small."""
    x = {layer: data(70, 24, seed=layer) for layer in (0, 1)}
    configs = make_configs(kind, [0.75, 0.95], n_latents=64, **KINDS[kind])
    assert trains_alike_beside_others(configs, 24, 2)
    options = QUICK | {"epochs": 3, "seeds": (0, 1), "sequence": np.repeat(np.arange(7), 10)}
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 4):
            torch.set_num_threads(n_threads)
            together = train(x, configs, validation=x, **options)
            apart = [
                sae for k, v in x.items() for sae in train({k: v}, configs, validation={k: v}, **options)
            ]
            for one, other in zip(together, apart, strict=True):
                assert (one.layer, one.name) == (other.layer, other.name)
                assert one.history.equals(other.history)
                state = other.state_dict()
                assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    finally:
        torch.set_num_threads(before)


def test_threads_change_nothing_but_the_last_bits_and_are_put_back():
    x = {0: data(), 1: data(seed=1)}
    single = train_saes(x, CONFIGS, validation=x, **QUICK)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        bank = Bank(
            CONFIGS, {layer: torch.from_numpy(rows) for layer, rows in x.items()}, (0,), dtype=torch.float32
        )
        assert len(bank.stacks) >= 3
        bank.close()
        threaded = train_saes(x, CONFIGS, validation=x, **QUICK)
        assert torch.get_num_threads() == 3
        failing = Bank(CONFIGS, {0: torch.zeros(4, 12)}, (0, 1), dtype=torch.float32)
        for stacked in failing.stacks:
            stacked.step = boom
        with pytest.raises(RuntimeError, match="boom"):
            failing.train_block({0: torch.zeros(4, 12)}, 4, Schedule(1e-3, 10))
        failing.close()
    finally:
        torch.set_num_threads(before)
    for a, b in zip(single, threaded):
        torch.testing.assert_close(a.encoder_weight, b.encoder_weight, rtol=1e-4, atol=1e-6)
        assert a.history.validation_mse.iloc[-1] == pytest.approx(b.history.validation_mse.iloc[-1], rel=1e-5)


def boom(*args):
    raise RuntimeError("boom")


def test_rows_without_a_layer_are_refused_with_what_is_wanted():
    with pytest.raises(InputError, match=r"a dict of layer -> rows such as \{3: rows\}; got ndarray"):
        train_saes(np.zeros((10, 4), dtype=np.float32), make_config("topk", n_latents=8, k=2), progress=False)
