"""How fast autoencoders train: ours against a plain loop and other libraries. Prints Markdown tables.

    python benchmarks/saes.py                   all tables
    python benchmarks/saes.py speed parts       some of: speed parts crossover bank recovery
    python benchmarks/saes.py speed --batch 32  the rows of one batch size alone, without the errors
    python benchmarks/saes.py --quick           fewer steps, to see that it runs
    python benchmarks/saes.py bank --device cuda        the bank on a GPU, beside plain loops there

Other libraries are measured where they are installed: see ``requirements-peers.txt``. All contenders of a table run
in one process, interleaved; a number is the median of five rounds, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numba import njit

sys.path.insert(0, os.path.dirname(__file__))
from saes_contenders import CONTENDERS, plain_step

from otoscope.compute import Lanes, one_core
from otoscope.saes import (
    TopKConfig,
    make_config,
    reconstruction_metrics,
    train_saes,
)
from otoscope.saes.fast import kernels, sparse, step
from otoscope.saes.fast.adam import Adam
from otoscope.saes.kinds.topk import TopK
from otoscope.saes.training.bank import Bank
from otoscope.saes.training.options import AS_PUBLISHED
from otoscope.saes.training.stack import Schedule

WIDTH, N_LATENTS, K = 768, 2048, 102
BATCHES = (32, 4096)
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = {"speed": speed, "parts": parts, "crossover": crossover, "bank": bank, "recovery": recovery}
    parser.add_argument(
        "tables", nargs="*", choices=[[], *tables], default=[], metavar="TABLE", help=", ".join(tables)
    )
    parser.add_argument("--quick", action="store_true", help="fewer steps, to see that it runs")
    parser.add_argument("--batch", type=int, choices=BATCHES, help="only this batch size of `speed`")
    parser.add_argument("--device", default="cpu", help="where the table `bank` runs")
    options = parser.parse_args()
    print(f"Machine: {machine()}.\n", flush=True)
    for name in options.tables or tables:
        if name == "bank":
            bank(options.quick, options.device)
        elif name == "speed":
            speed(options.quick, options.batch)
        else:
            tables[name](options.quick)


def speed(quick: bool, only_batch: int | None = None) -> None:
    """Steps a second at batch 32 and rows a second at batch 4,096; error after the same number of rows."""
    data = activations(8192 if quick else 32768)
    print(f"## One TopK {WIDTH} -> {N_LATENTS}, k = {K}\n")
    for batch in BATCHES if only_batch is None else (only_batch,):
        steps = {32: 5 if quick else 60, 4096: 1 if quick else 4}[batch]
        contenders = [make(WIDTH, N_LATENTS, K) for make in CONTENDERS.values()]
        contenders = [contender for contender in contenders if contender is not None]
        batches = cycle(data, batch)
        for contender in contenders:
            contender.train(take(batches, 3 if batch == 32 else 1), batch)
        rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for _ in range(2 if quick else ROUNDS):
            for contender in contenders:
                rows = take(batches, steps)
                seconds, _ = timed(lambda: contender.train(rows, batch))  # noqa: B023
                rates[contender.name].append(steps / seconds * (1 if batch == 32 else batch))
        unit = "steps/s" if batch == 32 else "rows/s"
        print(f"| batch {batch:,} | {unit} | range | of plain |\n|---|---|---|---|")
        base = statistics.median(rates["plain"])
        for name, found in rates.items():
            middle = statistics.median(found)
            print(
                f"| {name} | {middle:,.1f} | {min(found):,.1f} to {max(found):,.1f} | {middle / base:.2f} |"
            )
        print(flush=True)
    if only_batch is None:
        error_after(data, 200 if quick else 4000)


def error_after(data: torch.Tensor, steps: int) -> None:
    """Print the error of plain and ours after the same rows in the same order."""
    held_out = activations(4096, seed=1)
    print(f"| after {steps:,} steps of 32 rows | FVU on unseen rows |\n|---|---|")
    for name in ("plain", "otoscope float32", "otoscope bf16"):
        contender = CONTENDERS[name](WIDTH, N_LATENTS, K)
        if contender is None:
            print(f"| {name} | not on this machine |")
            continue
        batches = cycle(data, 32)
        contender.train(take(batches, steps), 32)
        with torch.no_grad():
            error = (contender.reconstruct(held_out) - held_out).double().square().sum()
        print(f"| {name} | {float(error / (held_out - held_out.mean(0)).double().square().sum()):.5f} |")
    print(flush=True)


def parts(quick: bool) -> None:
    """Where a step's time goes, and what the machine could do at best."""
    multiply, bandwidth = peak_multiply(), peak_bandwidth()
    print(
        f"## Parts of a step, ms\n\nMeasured peaks: {multiply / 1e9:.0f} GFLOP/s in float32 products, "
        f"{bandwidth / 1e9:.0f} GB/s reading and writing as much as Adam does.\n"
    )
    heads = ("batch", "products", *PARTS, "rest", "step", "floor")
    print(f"| {' | '.join(heads)} |\n|" + "---|" * len(heads))
    for batch in BATCHES:
        for half in (False, True) if torch.cpu._is_avx512_bf16_supported() else (False,):
            steps = {32: 5 if quick else 200, 4096: 2 if quick else 8}[batch]
            found = step_in_parts(batch, half, steps)
            cells = [
                f"{milliseconds:.2f}" for milliseconds in (*found, floor_s(batch, multiply, bandwidth) * 1e3)
            ]
            print(f"| {batch:,} | {'bf16' if half else 'float32'} | {' | '.join(cells)} |")
    print(
        "\nFloor: the dense encoder product and the active latents' share of the other products at the peak rate, plus "
        "one pass over weights and moments, read and written, at the peak bandwidth; nothing for selection.\n",
        flush=True,
    )


PARTS = ("encode", "select", "decode", "backward", "optimiser")


def step_in_parts(batch: int, half: bool, steps: int) -> list[float]:
    """Return the milliseconds of each of `PARTS`, of the rest, and of a whole step; medians over `steps`.

    The parts are timed inside the very step that training takes. Gradients and Adam are one pass: `optimiser` is what
    that pass takes where no latent is active, `backward` what it takes longer.
    """
    sae = TopK(TopKConfig(n_latents=N_LATENTS, k=K), WIDTH).train()
    optimiser, lanes = Adam(sae.named_parameters()), Lanes(torch.get_num_threads())
    batches = cycle(activations(8192), batch)
    names = {"_encode": sparse, "select_rows": kernels, "decode": kernels, "update": kernels}
    watches = {name: Stopwatch(getattr(module, name)) for name, module in names.items()}
    nothing = torch.full((batch, WIDTH), 0.0)
    rows = []
    try:
        for name, module in names.items():
            setattr(module, name, watches[name])
        with (
            one_core(),
            torch.no_grad(),
        ):  # as in training, where no operation of another thread spins beside these
            for _ in range(steps + 3):
                x = next(batches)
                whole, _ = timed(lambda: step.train_step(sae, x, optimiser, 1e-3, lanes, half=half))  # noqa: B023
                encode, select, decode, both = (watch.read() for watch in watches.values())
                bias = sae.encoder_bias.clone()
                sae.encoder_bias.fill_(-1.0)  # no latent is active on empty rows
                step.train_step(sae, nothing, optimiser, 0.0, lanes, half=half)
                sae.encoder_bias.copy_(bias)
                alone = [watch.read() for watch in watches.values()][-1]
                rest = whole - encode - select - decode - both
                rows.append([encode, select, decode, both - alone, alone, rest, whole])
    finally:
        for name, module in names.items():
            setattr(module, name, watches[name].function)
        lanes.close()
    return [statistics.median(values) * 1e3 for values in zip(*rows[3:])]


class Stopwatch:
    """A function that remembers how long its calls take; of calls in several threads the longest counts."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self._seconds: list[float] = []

    def __call__(self, *args):
        seconds, result = timed(lambda: self.function(*args))
        self._seconds.append(seconds)
        return result

    def read(self) -> float:
        """Return the seconds since the last call of this."""
        longest, self._seconds = max(self._seconds), []
        return longest


def floor_s(batch: int, multiply: float, bandwidth: float) -> float:
    dense = 2 * batch * WIDTH * N_LATENTS
    return dense * (1 + 4 * K / N_LATENTS) / multiply + STATE_BYTES * 2 / bandwidth


def crossover(quick: bool) -> None:
    """Steps on active latents against dense ones over their share: what `step.SPARSE_BELOW` rests on."""
    print("## Steps on active latents over steps with dense products (below 1: the former are faster)\n")
    usual = step.SPARSE_BELOW
    shares = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
    print(
        f"| shape | batch | {' | '.join(f'{share:.0%}' for share in shares)} |\n|"
        + "---|" * (len(shares) + 2)
    )
    for width, n_latents in ((192, 512), (768, 2048)):
        for batch in BATCHES:
            cells = []
            for share in shares:
                config = TopKConfig(n_latents=n_latents, k=max(int(share * n_latents), 1))
                bank = Bank([config], {0: torch.zeros(1, width)}, (0,), dtype=torch.float32)
                rows = [{0: torch.randn(batch, width)} for _ in range(4)]
                found: dict[float, list[float]] = {
                    0.0: [],
                    2.0: [],
                }  # shares below which the former are taken
                for index in range(3 if quick else 40 if batch == 32 else 6):
                    for limit, times in found.items():
                        step.SPARSE_BELOW = limit
                        x = rows[index % 4]
                        times.append(
                            timed(lambda b=bank, x=x, n=batch: b.train_block(x, n, Schedule(1e-3, 10**9)))[0]
                        )
                bank.close()
                step.SPARSE_BELOW = usual
                ratio = statistics.median(found[2.0][1:]) / statistics.median(found[0.0][1:])
                cells.append(f"{ratio:.2f}")
            print(f"| {width} -> {n_latents} | {batch:,} | {' | '.join(cells)} |", flush=True)
    print()


def bank(quick: bool, device: str = "cpu") -> None:
    """The paper's 48 autoencoders: eight layers, six sparsities, 970 rows, 100 epochs."""
    n_layers, epochs = (2, 1) if quick else (8, 4)
    sparsities = (0.75, 0.8, 0.85, 0.9, 0.95, 0.99)
    rows = {layer: activations(970, seed=layer).numpy() for layer in range(n_layers)}
    configs = [TopKConfig(n_latents=N_LATENTS, sparsity=sparsity) for sparsity in sparsities]
    same = {"progress": False, "device": device, **AS_PUBLISHED}  # the plain loop's work, and no more
    train_saes(rows, configs[:1], layers=[0], epochs=1, **same)
    ours, _ = timed(lambda: train_saes(rows, configs, epochs=epochs, **same))
    one_epoch = []
    for config in configs:
        step, _ = plain_step(WIDTH, N_LATENTS, config.active, device)
        batches = cycle(torch.from_numpy(rows[0]).to(device), 32)
        n_steps = 3 if quick else 31
        step(next(batches))
        seconds, _ = timed(lambda step=step, n=n_steps, b=batches: [step(next(b)).item() for _ in range(n)])
        one_epoch.append(seconds * 31 / n_steps)
    plain_total, ours_total = sum(one_epoch) * 8 * 100, ours * 8 * 100 / (n_layers * epochs)
    useful = sum(2 * 32 * WIDTH * N_LATENTS * (1 + 4 * config.active / N_LATENTS) for config in configs)
    rate = useful * 31 * n_layers * epochs / ours
    print(f"## The paper's 48 autoencoders, 970 rows, 100 epochs, batch 32, on {device}\n")
    print("| | minutes | of plain |\n|---|---|---|")
    print(f"| plain, one by one (from one epoch of each sparsity) | {plain_total / 60:.1f} | 1.00 |")
    print(f"| otoscope bank (from {epochs} epochs of {n_layers * 6}) | {ours_total / 60:.1f} | ", end="")
    print(f"{plain_total / ours_total:.2f} |\n")
    share = rate / peak_multiply(device)
    print(
        f"The bank's necessary products run at {rate / 1e9:.0f} GFLOP/s, {share:.0%} of the measured peak.\n",
        flush=True,
    )


def recovery(quick: bool) -> None:
    """What each kind recovers of a known sparse dictionary."""
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(48, 24))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = np.zeros((4000, 48))
    for row in codes:
        row[rng.choice(48, 3, replace=False)] = rng.uniform(0.5, 1.5, 3)
    x = (codes @ atoms).astype(np.float32)
    kinds: dict[str, dict] = {
        "topk": {"k": 3},
        "topk-gao": {"k": 3},
        "batch-topk": {"k": 3},
        "matryoshka": {"k": 3},
        "archetypal": {"k": 3, "n_points": 512},
        "relu": {"l1": 0.3},
        "gated": {"l1": 1.0},
        "jumprelu": {"l0": 0.1, "bandwidth": 0.2},
    }
    print("## 48 known atoms in 24 dimensions, three active a row, 96 latents\n")
    print("| kind | options | mean best cosine | FVU | L0 |\n|---|---|---|---|---|")
    for kind, options in kinds.items():
        (sae,) = train_saes(
            {0: x},
            make_config(kind, n_latents=96, **options),
            epochs=2 if quick else 60,
            batch_size=64,
            lr=3e-3,
            decay_fraction=0.5,
            progress=False,
            device="cpu",
        )
        decoder = torch.nn.functional.normalize(sae.decoder_weight.detach(), dim=-1).numpy()  # type: ignore[operator]
        cosine = (atoms @ decoder.T).max(1).mean()
        measured = reconstruction_metrics(sae, x)
        text = ", ".join(f"{name} = {value}" for name, value in options.items())
        print(f"| {kind} | {text} | {cosine:.3f} | {measured.fvu:.3f} | {measured.l0:.1f} |", flush=True)
    print()


def activations(n_rows: int, *, seed: int = 0) -> torch.Tensor:
    """Draw rows with structure: 24 of 4,096 directions each, plus noise."""
    rng = torch.Generator().manual_seed(1234)
    atoms = torch.nn.functional.normalize(torch.randn(4096, WIDTH, generator=rng), dim=1)
    rng = torch.Generator().manual_seed(seed)
    index = torch.randint(4096, (n_rows, 24), generator=rng)
    weights = torch.rand(n_rows, 24, generator=rng) + 0.5
    rows = torch.nn.functional.embedding_bag(index, atoms, per_sample_weights=weights, mode="sum")
    return rows + 0.02 * torch.randn(n_rows, WIDTH, generator=rng)


def cycle(data: torch.Tensor, batch: int):
    """Yield shuffled batches for ever."""
    rng = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.randperm(len(data), generator=rng).split(batch):
            if len(rows) == batch:
                yield data[rows]


def take(batches, n: int) -> torch.Tensor:
    """Return the rows of the next `n` batches, in order."""
    return torch.cat([next(batches) for _ in range(n)])


def timed(function: Callable):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_multiply(device: str = "cpu") -> float:
    """The best rate of a float32 product, by PyTorch's threads or by a core for each part."""
    a, b = torch.randn(4096, WIDTH, device=device), torch.randn(N_LATENTS, WIDTH, device=device)
    best = min(timed(lambda: (a @ b.T)[0, 0].item())[0] for _ in range(8))
    if device == "cpu":
        lanes = Lanes(torch.get_num_threads())
        with one_core():
            parts = [
                timed(lambda: lanes(lambda first, last: a @ b[first:last].T, N_LATENTS)) for _ in range(8)
            ]
        lanes.close()
        best = min(best, *(seconds for seconds, _ in parts))
    return 2 * 4096 * WIDTH * N_LATENTS / best


STATE_BYTES = 3 * 2 * WIDTH * N_LATENTS * 4
"""Weights and the two moments of encoder and decoder."""


def peak_bandwidth() -> float:
    """Bytes a second when arrays as large as a training's state are read and written, by all cores."""
    arrays = [torch.ones(N_LATENTS, WIDTH).numpy() for _ in range(6)]
    lanes = Lanes(torch.get_num_threads())
    best = min(
        timed(lambda: lanes(lambda first, last: add_one(*(a[first:last] for a in arrays)), N_LATENTS))[0]
        for _ in range(40)
    )
    lanes.close()
    return 2 * STATE_BYTES / best


@njit(nogil=True)
def add_one(a, b, c, d, e, f):
    for i in range(len(a)):
        for j in range(a.shape[1]):
            a[i, j] += 1
            b[i, j] += 1
            c[i, j] += 1
        for j in range(a.shape[1]):
            d[i, j] += 1
            e[i, j] += 1
            f[i, j] += 1


def machine() -> str:
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in cpu_info()]
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {' '.join(features)}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads; "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def cpu_info() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
