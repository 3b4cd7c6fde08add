"""What the training loop costs over a bare PyTorch loop, beside fastai v2, and what the imports cost.

    python -m benchmarks.loop

Two jobs: a two-layer perceptron at batch 64, where the overhead per step is all there is to see, and ResNet-18 on
64 px pictures, where it should vanish. The three loops do the same steps (the weights are compared) and take turns.
fastai v2 (the extra `bench`) is left out with a note if it is not installed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import Case, Contestants, have_fastai, interleave, machine, table
from learnkit import Category, DataBunch, Learner, fit

Batches = list[tuple[Tensor, Tensor]]


def perceptron() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2))


def resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(1)
    return resnet18(num_classes=10)


def contestants(make_model: Callable[[], nn.Module], batches: Batches, c: int) -> dict[str, Callable[[], float]]:
    """Return loops that train for an epoch and give their microseconds per step."""
    data = DataBunch(".", batches, target=Category(range(c)))

    bare_model = make_model()
    bare_opt = torch.optim.SGD(bare_model.parameters(), lr=0.01)

    def bare() -> float:
        started = time.perf_counter()
        bare_model.train()
        for x, y in batches:
            bare_opt.zero_grad()
            loss = F.cross_entropy(bare_model(x), y)
            loss.backward()
            bare_opt.step()
        return (time.perf_counter() - started) / len(batches) * 1e6

    fit_model = make_model()
    fit_opt = torch.optim.SGD(fit_model.parameters(), lr=0.01)

    def learnkit_fit() -> float:
        started = time.perf_counter()
        fit(fit_model, data, 1, fit_opt, F.cross_entropy, progress=False)
        return (time.perf_counter() - started) / len(batches) * 1e6

    learn = Learner(data, make_model(), torch.optim.SGD, device="cpu")
    learn.no_progress()

    def learner() -> float:
        started = time.perf_counter()
        learn.fit(0.01, 1)
        return (time.perf_counter() - started) / len(batches) * 1e6

    found = {"bare": bare, "learnkit fit": learnkit_fit, "learnkit Learner": learner}
    models = {"bare": bare_model, "learnkit fit": fit_model, "learnkit Learner": learn.model}
    if (rival := fastai_loop(make_model(), batches)) is not None:
        found["fastai v2 Learner"], models["fastai v2 Learner"] = rival
    check_same_start(models, make_model())
    return found


def epoch_of_perceptron() -> Contestants:
    g = torch.Generator().manual_seed(0)
    batches = [(torch.randn(64, 32, generator=g), torch.randint(2, (64,), generator=g)) for _ in range(400)]
    return _three(contestants(perceptron, batches, 2))


def epoch_of_resnet() -> Contestants:
    g = torch.Generator().manual_seed(0)
    batches = [(torch.randn(64, 3, 64, 64, generator=g), torch.randint(10, (64,), generator=g)) for _ in range(12)]
    return _three(contestants(resnet, batches, 10))


def _three(found: dict[str, Callable[[], float]]) -> Contestants:
    return {
        "learnkit": found["learnkit Learner"],
        "bare": found["bare"],
        "fastai v2": found.get("fastai v2 Learner"),
    }


CASES = [
    Case("loop perceptron", "a step of a two-layer perceptron, batch 64", "us", epoch_of_perceptron, 9),
    Case("loop resnet18", "a step of ResNet-18, 64 px, batch 64", "us", epoch_of_resnet, 11, {"bare": 1.03}),
]


def fastai_loop(model: nn.Module, batches: Batches) -> tuple[Callable[[], float], nn.Module] | None:
    if not have_fastai():
        print('fastai v2 is not installed (pip install "learnkit[bench]"), so it is left out.')
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fastai.callback.progress  # noqa: F401 - gives the learner `no_bar`
        from fastai.basics import SGD, DataLoaders
        from fastai.basics import Learner as FastaiLearner

    class Loader(list[Any]):
        """A list of batches with the two things fastai asks a loader for in every step."""

        n_inp = 1

        def to(self, device: Any) -> None:
            self.device = device

    loaders = DataLoaders(Loader(batches), Loader(), device=torch.device("cpu"))
    learn = FastaiLearner(loaders, model, loss_func=F.cross_entropy, opt_func=SGD, lr=0.01)

    def run() -> float:
        with learn.no_bar(), learn.no_logging():
            started = time.perf_counter()
            learn.fit(1)
            return (time.perf_counter() - started) / len(batches) * 1e6

    return run, model


def check_same_start(models: dict[str, nn.Module], reference: nn.Module) -> None:
    for name, model in models.items():
        for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            if not torch.equal(mine, theirs):
                raise RuntimeError(f"{name} does not start from the same weights")


def import_seconds(statement: str, repeats: int = 5) -> float:
    """Return the median time of a statement in a fresh interpreter."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(repeats)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine())

    g = torch.Generator().manual_seed(0)
    small = [(torch.randn(64, 32, generator=g), torch.randint(2, (64,), generator=g)) for _ in range(400)]
    print("\nTwo-layer perceptron, batch 64, 400 steps\n")
    print(table(interleave(contestants(perceptron, small, 2), args.rounds), "bare", "us/step"))

    pictures = [(torch.randn(64, 3, 64, 64, generator=g), torch.randint(10, (64,), generator=g)) for _ in range(12)]
    print("\nResNet-18, 64 px, batch 64, 12 steps\n")
    print(table(interleave(contestants(resnet, pictures, 10), args.rounds), "bare", "us/step"))

    print("\nImports, seconds in a fresh interpreter\n")
    print("| | median | over |\n|---|---|---|")
    for base, ours in (("import torch", "import learnkit"), ("import torchvision", "import learnkit.vision")):
        before = import_seconds(base)
        after = import_seconds(f"{base}; {ours}")
        print(f"| {ours} | {after:.2f} | {after - before:+.2f} over {base} ({before:.2f}) |")


if __name__ == "__main__":
    main()
