"""The same loops where arithmetic is cheap: on a CUDA machine without internet; everything is generated.

    python -m benchmarks.gpu                 ResNet-50 at batch 256, tables, ratings, AWD-LSTM, waiting for data
    python -m benchmarks.gpu --small         the same at sizes a CPU can do, to see that it runs

Each loop is measured beside a bare one over the same batches, already on the device, in bf16 with channels_last for
pictures. A step of `Learner.fit` must not wait for the device, so its rate is that of the bare loop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import machine
from learnkit import Category, DataBunch, Learner, TensorLoader, default_device
from learnkit.core.precision import Autocast, autocast_for

Batches = Sequence[tuple[Any, ...]]


def sync(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(run: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Median seconds of a run, after one to warm up."""
    seconds = []
    for _ in range(rounds + 1):
        sync(device)
        started = time.perf_counter()
        run()
        sync(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def bare_epoch(
    model: nn.Module, batches: Batches, loss_fn: Callable[..., Tensor], opt: torch.optim.Optimizer, autocast: Autocast
) -> None:
    """Train in the shortest loop there is."""
    model.train()
    for *xs, y in batches:
        opt.zero_grad(set_to_none=True)
        with autocast():
            output = model(*xs)
            loss = loss_fn(output[0] if isinstance(output, tuple) else output, y)
        loss.backward()
        opt.step()


def compare(
    title: str,
    make: Callable[[], nn.Module],
    batches: Batches,
    items: int,
    unit: str,
    args: argparse.Namespace,
    *,
    crit: Callable[..., Tensor] = F.cross_entropy,
    bf16: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
) -> None:
    """Print items per second of a bare epoch and of `Learner.fit`, their ratio and the peak of memory."""
    device = args.device
    precision = "bf16" if bf16 else "fp32"
    autocast = autocast_for(precision, device)  # fp32 for both where the device has no bf16
    layout = torch.channels_last if channels_last else torch.preserve_format
    bare_model = make().to(device).to(memory_format=layout)
    opt = torch.optim.AdamW(bare_model.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0)
    forward: Any = torch.compile(bare_model) if compiled else bare_model
    learn = Learner(
        DataBunch(".", batches),
        make(),
        crit=crit,
        device=device,
        precision=precision,
        channels_last=channels_last,
        compile=compiled,
    )
    learn.no_progress()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    bare = timed(lambda: bare_epoch(forward, batches, crit, opt, autocast), device, args.rounds)
    ours = timed(lambda: learn.fit(1e-4, 1), device, args.rounds)
    peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB" if device.type == "cuda" else "not measured"
    print(f"| {title} | {items / bare:,.0f} | {items / ours:,.0f} {unit} | {bare / ours:.3f} | {peak} |", flush=True)


def pictures(args: argparse.Namespace) -> None:
    from torchvision.models import resnet18, resnet50

    bs, sz, n = (8, 64, 4) if args.small else (256, 224, 40)
    make = partial(resnet18 if args.small else resnet50, num_classes=10)
    x = torch.randn(bs, 3, sz, sz, device=args.device).to(memory_format=torch.channels_last)
    batches = [(x, torch.randint(10, (bs,), device=args.device))] * n
    name = f"{'ResNet-18' if args.small else 'ResNet-50'}, {sz} px, batch {bs}, bf16"
    compare(name, make, batches, bs * n, "pictures/s", args, bf16=True, channels_last=True)
    if not args.small:
        compare(
            f"{name}, compiled", make, batches, bs * n, "pictures/s", args, bf16=True, channels_last=True, compiled=True
        )


def tables(args: argparse.Namespace) -> None:
    from learnkit.tabular import MixedInputModel

    rows, bs = (2_000, 64) if args.small else (500_000, 1024)
    cats = torch.randint(0, 50, (rows, 8), device=args.device)
    conts, y = torch.randn(rows, 6, device=args.device), torch.randint(2, (rows,), device=args.device)
    make = partial(MixedInputModel, [(50, 25)] * 8, 6, 0.0, 2, [200, 100], [0.0, 0.0])
    loader: Any = TensorLoader((cats, conts), y, bs, shuffle=True)
    compare(f"table of {rows:,} rows on the device, batch {bs}", make, loader, rows, "rows/s", args)


def ratings(args: argparse.Namespace) -> None:
    from learnkit.collab import EmbeddingDotBias

    rows, bs = (5_000, 256) if args.small else (2_000_000, 8192)
    users, items = (torch.randint(1, n, (rows,), device=args.device) for n in (2000, 1000))
    y = torch.rand(rows, device=args.device) * 4 + 1
    make = partial(EmbeddingDotBias, 2000, 1000, 50, (0.5, 5.5))
    loader: Any = TensorLoader((users, items), y, bs, shuffle=True)
    compare(f"{rows:,} ratings on the device, batch {bs}", make, loader, rows, "ratings/s", args, crit=F.mse_loss)


def text(args: argparse.Namespace) -> None:
    from learnkit.text import AWDLSTM, LanguageModel

    vocab, bs, bptt, n = (1_000, 8, 20, 4) if args.small else (30_000, 128, 70, 60)
    sizes = (32, 64, 2) if args.small else (400, 1152, 3)
    x = torch.randint(2, vocab, (bptt, bs), device=args.device)
    batches = [(x, torch.randint(2, vocab, (bptt * bs,), device=args.device))] * n

    def make() -> nn.Module:
        return LanguageModel(AWDLSTM(vocab, *sizes), vocab)

    compare(f"AWD-LSTM {sizes}, {vocab:,} words", make, batches, bptt * bs * n, "tokens/s", args, bf16=True)


def waiting(args: argparse.Namespace) -> None:
    """Share of an epoch of real picture files in which the device waits for data."""
    from PIL import Image

    from learnkit.vision import ConvLearner, ImageClassifierData, imagenet_stats, tfms_from_stats, transforms_side_on

    n, sz, bs = (32, 64, 8) if args.small else (4096, 224, 128)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            target = Path(folder, "train", str(i % 2))
            target.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 255, (25, 25, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((400, 400), Image.Resampling.BICUBIC).save(target / f"{i}.jpg", quality=90)
        tfms = tfms_from_stats(imagenet_stats, sz, transforms_side_on, max_zoom=1.1)
        data = ImageClassifierData.from_paths(folder, bs, tfms, val_name="train")
        data.val_dl = None
        learn = ConvLearner.pretrained(
            "resnet18" if args.small else "resnet50", data, weights=False, device=args.device
        )
        learn.no_progress()
        learn.unfreeze()
        real = timed(lambda: learn.fit(1e-4, 1), args.device, 1)
        batch = next(iter(data.trn_dl))
        target_classes = Category(data.classes or [])
        learn.data = DataBunch(folder, [batch] * (n // bs), target=target_classes)
        resident = timed(lambda: learn.fit(1e-4, 1), args.device, 1)
    print(
        f"\n{n} JPEGs of 400 px to {sz} px: {n / real:,.0f} pictures/s from files, {n / resident:,.0f} from memory: the device "
        f"waits {max(0.0, 1 - resident / real):.0%} of the epoch."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", type=torch.device, default=default_device())
    args = parser.parse_args()
    print(f"{machine()}\n")
    print("| | bare | learnkit | learnkit / bare | peak memory of both |\n|---|---|---|---|---|")
    for part in (pictures, tables, ratings, text):
        part(args)
    waiting(args)


if __name__ == "__main__":
    main()
