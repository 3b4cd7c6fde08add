"""Small data, small models and the loop written by hand that the tests of the training part share."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from learnkit import Callback, Category, DataBunch, Learner, fit
from learnkit.data.loaders import generators
from learnkit.train.events import EVENTS

N_IN, N_CLASSES = 6, 3
Batches = list[tuple[Tensor, Tensor]]


def items(n: int = 26, n_in: int = N_IN, c: int = N_CLASSES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A classification problem that a linear model can learn."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_in, generator=g)
    return x, (x @ torch.randn(n_in, c, generator=torch.Generator().manual_seed(99))).argmax(1)


def batches(n: int = 26, bs: int = 8, **kwargs: Any) -> Batches:
    """The same, in batches; the last one is short."""
    x, y = items(n, **kwargs)
    return list(zip(x.split(bs), y.split(bs), strict=True))


def net(seed: int = 0, p: float = 0.3) -> nn.Sequential:
    """Batch norm and dropout: a model for which modes and random numbers matter."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(N_IN, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(p),
        nn.Linear(8, 5),
        nn.ReLU(),
        nn.Linear(5, N_CLASSES),
    )


def plain_net(seed: int = 0) -> nn.Sequential:
    """Nothing but layers that treat every item by itself."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(N_IN, 8), nn.Tanh(), nn.Linear(8, N_CLASSES))


def bunch(path: Any = ".", **kwargs: Any) -> DataBunch:
    return DataBunch(path, batches(), batches(12, 5, seed=1), target=Category(list("abc")), **kwargs)


def learner(path: Any = ".", model: nn.Module | None = None, data: DataBunch | None = None, **kwargs: Any) -> Learner:
    learn = Learner(data or bunch(path), net() if model is None else model, **kwargs)
    learn.no_progress()
    return learn


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same(a: Mapping[str, Tensor] | nn.Module, b: Mapping[str, Tensor] | nn.Module) -> None:
    """Bit for bit."""
    a, b = (snapshot(x) if isinstance(x, nn.Module) else x for x in (a, b))
    assert list(a) == list(b)
    assert not [name for name in a if not torch.equal(a[name], b[name])]


def assert_close(a: Mapping[str, Tensor] | nn.Module, b: Mapping[str, Tensor] | nn.Module, **kwargs: Any) -> None:
    a, b = (snapshot(x) if isinstance(x, nn.Module) else x for x in (a, b))
    assert list(a) == list(b)
    for name in a:
        torch.testing.assert_close(a[name], b[name], **kwargs)


def differs(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    return [name for name in a if not torch.equal(a[name], b[name])]


def plain_loop(
    model: nn.Module,
    trn: Sequence[Any] | Iterable[Any],
    val: Iterable[Any],
    n_epochs: int,
    opt: Optimizer,
    crit: Callable[..., Tensor],
    accumulate: int = 1,
) -> None:
    """What one writes without a library. A window's loss is the mean over its items."""
    n = len(trn)  # type: ignore[arg-type]
    for _ in range(n_epochs):
        model.train()
        for i, (x, y) in enumerate(trn):
            if i % accumulate == 0:
                opt.zero_grad()
                first, total = len(y), 0.0
            share = len(y) / first
            (crit(model(x), y) * share).backward()
            total += share
            if i % accumulate == accumulate - 1 or i == n - 1:
                for p in model.parameters():
                    if p.grad is not None:
                        p.grad /= total
                opt.step()
        model.eval()
        with torch.no_grad():
            for x, y in val:
                crit(model(x), y)


class Events(Callback):
    """Writes down every event it hears."""

    def __init__(self) -> None:
        self.log: list[str] = []


def _listen(event: str) -> Callable[[Events, Any], None]:
    def listen(self: Events, run: Any) -> None:
        self.log.append(event)

    return listen


for _event in EVENTS:
    setattr(Events, _event, _listen(_event))


class Trace(Callback):
    """Keeps rates, momentums and weights of every training step, and the weights after every epoch."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []
        self.moms: list[float] = []
        self.after_training: list[dict[str, Tensor]] = []
        self.steps: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def before_fit(self, run: Any) -> None:
        self.model = run.model

    def before_step(self, run: Any) -> None:
        self.lrs.append([group["lr"] for group in run.opt.param_groups])
        group = run.opt.param_groups[-1]
        self.moms.append(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))

    def after_step(self, run: Any) -> None:
        self.steps.append(snapshot(run.model))
        self.losses.append(run.loss.item())

    def after_train(self, run: Any) -> None:
        self.after_training.append(snapshot(run.model))


class World:
    """Everything a helper such as `lr_find` must leave alone."""

    def __init__(self, learn: Learner) -> None:
        model = learn.model
        self.weights = snapshot(model)
        self.grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
        self.trainable = {name: p.requires_grad for name, p in model.named_parameters()}
        self.modes = {name: module.training for name, module in model.named_modules()}
        self.hooks = n_hooks(model)
        self.python, self.numpy, self.torch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
        loaders = (learn.data.trn_dl, learn.data.val_dl)
        self.generators = [generator.get_state() for dl in loaders for generator in generators(dl)]
        self.recorder = copy.deepcopy({k: v for k, v in vars(learn.sched).items() if k != "lr_finding"})
        names = ("callbacks", "metrics", "clip", "reg_fn", "crit", "data", "precision", "accumulate", "show_progress")
        self.settings = {name: getattr(learn, name) for name in names}

    def assert_unchanged(self, learn: Learner) -> None:
        now = World(learn)
        assert_same(self.weights, now.weights)
        assert {k: None if g is None else g.tolist() for k, g in self.grads.items()} == {
            k: None if g is None else g.tolist() for k, g in now.grads.items()
        }
        assert all(torch.equal(a, b) for a, b in zip(self.generators, now.generators, strict=True))
        assert torch.equal(self.torch, now.torch)
        assert all(np.array_equal(a, b) for a, b in zip(self.numpy, now.numpy, strict=True))
        for name in ("trainable", "modes", "hooks", "python", "recorder", "settings"):
            assert getattr(self, name) == getattr(now, name), name


def n_hooks(model: nn.Module) -> int:
    return sum(
        len(getattr(module, name))
        for module in model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )


def run_fit(
    callbacks: list[Callback],
    n: int = 3,
    model: nn.Module | None = None,
    data: Any = None,
    lr: float = 0.1,
    **kwargs: Any,
) -> nn.Module:
    model = net() if model is None else model
    opt = optim.SGD(model.parameters(), lr=lr)
    torch.manual_seed(1)
    kwargs = {"crit": F.cross_entropy, "metrics": ["accuracy"], "progress": False, **kwargs}
    fit(model, data or bunch(), n, opt, callbacks=callbacks, **kwargs)
    return model


class Script(Callback):
    """Puts the figures it was given into the epoch table, and keeps the weights of each epoch."""

    def __init__(self, values: list[float], name: str = "val_loss") -> None:
        self.values, self.name = values, name
        self.weights: list[dict[str, Tensor]] = []
        self.lrs: list[float] = []

    def before_epoch(self, run: Any) -> None:
        self.lrs.append(run.opt.param_groups[0]["lr"])

    def after_epoch(self, run: Any) -> None:
        run.results[self.name] = self.values[run.epoch]
        self.weights.append(snapshot(run.model))
