"""52 layer probes and 48 code probes, by the published recipe: together, and one after the other in PyTorch.

Run ``python benchmarks/probes.py``. Both sides train from arrays in memory: one linear layer, Adam 1e-3, batches of
32, a look at the validation rows after every epoch; same start, same order of rows. The loop runs at the number of
threads that suits it best. `--epochs 120` runs the published length.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from otoscope.compute import cpu_count
from otoscope.probing import linear_probes, sgd

SIZES = {"train": 1500, "valid": 380, "test": 400}
N_CLASSES = 10


def main() -> None:
    """Print both times, their ratio, and how far the two sides agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=52)
    parser.add_argument("--codes", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    representations, y, split = make(options.layers, options.codes)
    some = dict(list(representations.items())[:2] + list(representations.items())[-2:])
    linear_probes(some, y, split=split, groups=y, epochs=1)  # compile
    threads = best_threads(some, y, split)
    start = time.perf_counter()
    loop = one_after_the_other(representations, y, split, options.epochs)
    loop_s = time.perf_counter() - start
    start = time.perf_counter()
    ours = linear_probes(representations, y, split=split, groups=y, epochs=options.epochs)
    ours_s = time.perf_counter() - start
    same = np.mean([(ours[key].predictions == loop[key]).mean() for key in representations])
    print(
        f"{len(representations)} probes, {options.epochs} epochs, {cpu_count()} cores, {SIZES['train']} training rows"
    )
    print(f"one after the other ({threads} threads): {loop_s:.1f} s")
    print(
        f"together: {ours_s:.1f} s, {loop_s / ours_s:.1f}x; {same:.2%} of the test predictions are the same"
    )
    if same < 0.99:
        raise SystemExit("the two sides do not train the same probes")


def one_after_the_other(representations: dict, y: np.ndarray, split: np.ndarray, epochs: int) -> dict:
    """Return each probe's test predictions at its best epoch, trained by a plain PyTorch loop."""
    return {key: train(x, y, split, epochs) for key, x in representations.items()}


def train(x: np.ndarray, y: np.ndarray, split: np.ndarray, epochs: int) -> np.ndarray:
    """Train one probe and return its test predictions."""
    start = sgd.LinearLayer.draw(x.shape[1], N_CLASSES, seed=0)
    layer = torch.nn.Linear(x.shape[1], N_CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(start.weights))
        layer.bias.copy_(torch.from_numpy(start.bias))
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    sides = {side: (torch.from_numpy(x[split == side]), torch.from_numpy(y[split == side])) for side in SIZES}
    rng, lowest, best = np.random.default_rng([0, 1]), np.inf, None
    for _ in range(epochs):
        features, classes = sides["train"]
        for rows in torch.from_numpy(rng.permutation(len(classes))).split(32):
            loss = torch.nn.functional.cross_entropy(layer(features[rows]), classes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            loss = torch.nn.functional.cross_entropy(layer(sides["valid"][0]), sides["valid"][1]).item()
            if loss < lowest:
                lowest, best = loss, layer(sides["test"][0]).argmax(dim=1).numpy()
    assert best is not None
    return best


def best_threads(some: dict, y: np.ndarray, split: np.ndarray) -> int:
    """Set and return the number of torch threads at which the loop is fastest."""
    times = {}
    for threads in (1, cpu_count()):
        torch.set_num_threads(threads)
        start = time.perf_counter()
        one_after_the_other(some, y, split, 1)
        times[threads] = time.perf_counter() - start
    best = min(times, key=times.__getitem__)
    torch.set_num_threads(best)
    return best


def make(layers: int, codes: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return layers of 768 and codes of 2,048 latents (one in ten active), classes, and the split."""
    rng = np.random.default_rng(0)
    n = sum(SIZES.values())
    y = rng.integers(0, N_CLASSES, n)
    causes = rng.standard_normal((N_CLASSES, 40))[y] + 2 * rng.standard_normal((n, 40))
    representations = {}
    for i in range(layers):
        x = causes @ rng.standard_normal((40, 768)) + 3 * rng.standard_normal((n, 768))
        representations[f"layer {i}"] = (x / 20).astype(np.float32)
    for i in range(codes):
        z = causes @ rng.standard_normal((40, 2048)) + 3 * rng.standard_normal((n, 2048))
        threshold = np.partition(z, -205, axis=1)[:, [-205]]
        representations[f"codes {i}"] = (np.where(z >= threshold, z, 0) / 20).astype(np.float32)
    return representations, y, np.repeat(list(SIZES), list(SIZES.values()))


if __name__ == "__main__":
    main()
