"""Optimizers, models and loaders put together at random: trained as the loop by hand does, or refused in words."""

from __future__ import annotations

import copy
import math
import tempfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, TensorDataset

from learnkit import Category, DataBunch, LayerOptimizer, Learner, LearnkitError, TensorLoader, fit
from learnkit.train.optim import OPTIMIZERS
from tests.train.helpers import N_CLASSES, N_IN, assert_close, assert_same, items, net, plain_net

few = settings(max_examples=40, deadline=None)


class Frozen(nn.Sequential):
    """Its first layer does not train."""

    def __init__(self) -> None:
        super().__init__(*plain_net())
        self[0].requires_grad_(False)


class Embeds(nn.Module):
    """Gradients that are sparse beside ones that are not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = nn.EmbeddingBag(4, 5, sparse=True), nn.Linear(5, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.table((x > 0).long() + (x > 1).long()))


MODELS: dict[str, Any] = {"plain": plain_net, "batch norm and dropout": net, "frozen": Frozen, "sparse": Embeds}
OPTS: dict[str, Any] = {
    **OPTIMIZERS,
    "lbfgs, line search": partial(optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe"),
    "nesterov": partial(optim.SGD, momentum=0.9, nesterov=True),
    "amsgrad": partial(optim.Adam, amsgrad=True, weight_decay=0.1),
}
if hasattr(optim, "Muon"):
    OPTS["muon"] = optim.Muon


def by_hand(model: nn.Module, dl: Any, n_epochs: int, opt: Any) -> None:
    """Every optimizer of PyTorch takes a closure, and those that can do without one call it once."""
    for _ in range(n_epochs):
        model.train()
        for x, y in dl:

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                opt.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            opt.step(closure)


@few
@given(
    model=st.sampled_from(list(MODELS)),
    name=st.sampled_from(list(OPTS)),
    bs=st.integers(2, 9),
    shuffle=st.booleans(),
    ours=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_optimizer_trains_any_model_as_by_hand_or_says_why_not(model, name, bs, shuffle, ours, seed):
    x, y = items(20, seed=seed)

    def dl() -> Any:
        return TensorLoader(x, y, bs, shuffle) if ours else DataLoader(TensorDataset(x, y), bs, shuffle=shuffle)

    def start() -> tuple[nn.Module, Any]:
        made = MODELS[model]()
        torch.manual_seed(seed)
        return made, OPTS[name](made.parameters(), lr=0.01)

    def train(opt_fn: Any) -> nn.Module:
        made, _ = MODELS[model](), torch.manual_seed(seed)
        opt = LayerOptimizer(opt_fn, made, 0.01).opt
        fit(made, DataBunch(".", dl()), 2, opt, F.cross_entropy, progress=False)
        return made

    error = None
    try:
        first, opt = start()
        by_hand(first, dl(), 2, opt)
    except (RuntimeError, ValueError) as exc:
        error = exc
    if error is not None:
        with pytest.raises(LearnkitError) as caught:
            train(opt_fn=OPTS[name])
        assert str(error) in str(caught.value)
    else:
        assert_same(first, train(opt_fn=OPTS[name]))


@few
@given(
    own=st.booleans(), others=st.booleans(), frozen=st.sampled_from(["nothing", "the model", "what is held"]),
    some=st.booleans(),
)  # fmt: skip
def test_an_optimizer_that_trains_nothing_is_refused_before_training(own, others, frozen, some):
    model, other = plain_net(), plain_net(1)
    held = [*(list(model.parameters())[: 2 if some else None] if own else ()), *(other.parameters() if others else ())]
    if not held:
        return
    for p in {"nothing": [], "the model": model.parameters(), "what is held": held}[frozen]:
        p.requires_grad_(False)
    opt = optim.SGD(held, 0.1)
    trains = any(p.requires_grad for p in held if any(p is q for q in model.parameters()))
    before = copy.deepcopy(model)
    x, y = items(20)
    seen: list[Any] = []

    def crit(pred: Tensor, target: Tensor) -> Tensor:
        seen.append(pred)
        return F.cross_entropy(pred, target)

    def train() -> None:
        fit(model, DataBunch(".", [(x, y)]), 1, opt, crit, progress=False)

    if not trains:
        with pytest.raises(LearnkitError, match="nothing is trainable|it would train another model"):
            train()
        assert not seen
        assert_same(before, model)
    elif others and own and some and frozen == "nothing":
        with pytest.warns(UserWarning, match="in the optimizer are not the model's, and 2 of the model's are not"):
            train()
    else:
        train()


class Lazy(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.Dropout(0.2), nn.LazyLinear(N_CLASSES))


@few
@given(n_in=st.integers(1, 6), bs=st.integers(2, 9), seed=st.integers(0, 3), shuffle=st.booleans())
def test_lazy_layers_train_like_those_whose_size_was_given(n_in, bs, seed, shuffle):
    x, y = items(24, n_in=n_in)
    data = DataBunch(".", TensorLoader(x, y, bs, shuffle), TensorLoader(x, y, 5), target=Category([*"abc"]))
    lazy = Learner(data, Lazy())
    sized = Learner(
        data,
        nn.Sequential(nn.Linear(n_in, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, N_CLASSES)),
    )
    sized.model.load_state_dict(lazy.model.state_dict())
    for learn in (lazy, sized):
        learn.no_progress()
        torch.manual_seed(seed)
        learn.lr_find(n_iter=4)
        learn.check()
        learn.fit(0.01, 2)
    assert_same(sized.model, lazy.model)
    assert lazy.summary().nb_params == sized.summary().nb_params


class Reads(nn.Module):
    """Scores sequences by the last state of a recurrent layer, packed or one at a time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.out = nn.GRU(N_IN, 5), nn.Linear(5, N_CLASSES)

    def forward(self, x: Any) -> Tensor:
        return self.out(self.rnn(x)[1][-1])


@few
@given(lengths=st.lists(st.integers(1, 6), min_size=3, max_size=12), bs=st.integers(1, 5), first=st.booleans())
def test_packed_sequences_count_and_come_back_as_their_items(lengths, bs, first):
    g = torch.Generator().manual_seed(len(lengths))
    texts = [torch.randn(n, N_IN, generator=g) for n in lengths]
    y = torch.arange(len(texts)) % N_CLASSES
    parts = [slice(i, i + bs) for i in range(0, len(texts), bs)]
    batches: list[Any] = [
        (pack_sequence(texts[part], enforce_sorted=False), y[part]) if first
        else ((pack_sequence(texts[part], enforce_sorted=False), torch.zeros(1)), y[part])
        for part in parts
    ]  # fmt: skip

    class Takes(Reads):
        def forward(self, x: Any, _: Any = None) -> Tensor:
            assert isinstance(x, PackedSequence)
            return super().forward(x)

    learn = Learner(DataBunch(".", batches, batches, target=Category([*"abc"])), Takes())
    learn.no_progress()
    learn.check()
    with torch.no_grad():
        alone = torch.cat([Reads()(text[:, None]) for text in texts])
    expected = F.cross_entropy(alone, y).item()
    assert learn.validate()["val_loss"] == pytest.approx(expected, rel=1e-4)
    assert torch.from_numpy(learn.predict()).allclose(alone.log_softmax(1), atol=1e-5)
    packed = learn.predict_array(pack_sequence(texts, enforce_sorted=False))
    assert torch.from_numpy(packed).allclose(alone.log_softmax(1), atol=1e-5)
    by_hand = Reads()
    opt = optim.SGD(by_hand.parameters(), 0.1)
    for part in parts:
        opt.zero_grad()
        F.cross_entropy(by_hand(pack_sequence(texts[part], enforce_sorted=False)), y[part]).backward()
        opt.step()
    learn.opt_fn = optim.SGD
    learn.fit(0.1, 1)
    assert_close(by_hand, learn.model, atol=1e-5, rtol=1e-4)


@few
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8), bs=st.integers(1, 4))
def test_packed_predictions_are_a_list_of_items(lengths, bs):
    texts = [torch.full((n, 2), float(i)) for i, n in enumerate(lengths)]
    batches = [
        (pack_sequence(texts[i : i + bs], enforce_sorted=False), torch.zeros(len(texts[i : i + bs])))
        for i in range(0, len(texts), bs)
    ]
    learn = Learner(DataBunch(".", batches, batches), nn.Identity(), crit=lambda out, y: out.data.mean())
    preds = learn.predict()
    assert isinstance(preds, list)
    assert [p.tolist() for p in preds] == [t.tolist() for t in texts]


class Says:
    """A loader, or the data set of one, that is mistaken about its length."""

    def __init__(self, said: int, batches: list[Any]) -> None:
        self.said, self.batches = said, batches

    def __len__(self) -> int:
        return self.said

    def __iter__(self) -> Any:
        return iter(self.batches)


@few
@given(said=st.integers(1, 12), given_=st.integers(1, 12), n=st.integers(1, 4), accumulate=st.integers(1, 3))
def test_a_schedule_ends_where_the_training_ends_whatever_the_length_says(said, given_, n, accumulate):
    x, y = items(2 * given_)
    data = DataBunch(".", Says(said, list(zip(x.split(2), y.split(2), strict=True))), target=Category([*"abc"]))
    learn = Learner(data, plain_net(), accumulate=accumulate)
    learn.no_progress()
    learn.sched.untrained = False  # whether the loss falls is no matter here

    def trained(train: Any) -> list[float]:
        words = rf"says that it has {said} batches \(its `len`\), and gave {given_} in epoch 0"
        with nullcontext() if said == given_ else pytest.warns(UserWarning, match=words) as caught:
            train()
        assert caught is None or len(caught) == 1
        assert len(learn.sched.lrs) == n * given_
        return learn.sched.lrs

    lrs = trained(lambda: learn.fit_one_cycle(n, 1.0, pct_start=0.25))
    peak = lrs.index(max(lrs))
    assert lrs[peak:] == sorted(lrs[peak:], reverse=True)  # it falls and does not begin again
    with tempfile.TemporaryDirectory() as folder:
        data.path = Path(folder)
        lrs = trained(lambda: learn.fit(1.0, n, cycle_len=1, cycle_save_name="a"))
        assert len(list((data.path / "models").iterdir())) == n
    for i in range(n):
        cycle = lrs[i * given_ : (i + 1) * given_]
        assert cycle[0] == 1.0
        assert cycle == sorted(cycle, reverse=True)
        if i:  # from the second epoch on it is fitted to what the loader gives
            assert cycle == pytest.approx([(1 + math.cos(math.pi * j / given_)) / 2 for j in range(given_)], abs=1e-6)
