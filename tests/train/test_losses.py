"""What the library's losses put right, what a loss of the user's gets, and how scores are read."""

from __future__ import annotations

import warnings
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from learnkit import (
    Category,
    DataBunch,
    DataError,
    Learner,
    LossRegulariser,
    MultiCategory,
    Real,
    TrainingError,
    fit,
    l1_penalty,
    l2_penalty,
    load_learner,
    validate,
)
from learnkit.train.losses import is_own
from tests.train.helpers import N_CLASSES, N_IN, assert_same, batches, items, plain_net, run_fit, snapshot

N = 64


def column_data(column: bool = False, **kwargs: Any) -> DataBunch:
    """Values that a linear model can learn exactly."""
    x, _ = items(N)
    y = x[:, 0] * 2 - x[:, 1] + 1
    y = y[:, None] if column else y
    parts = list(zip(x.split(16), y.split(16), strict=True))
    return DataBunch(".", parts, parts, **kwargs)


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(N_IN, 1)


def quiet(data: DataBunch, model: nn.Module, **kwargs: Any) -> Learner:
    learn = Learner(data, model, opt_fn=partial(optim.SGD), **kwargs)
    learn.no_progress()
    return learn


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("pred", "y"),
    [
        ((4, 1, 5, 6), (4, 5, 6)),
        ((4, 1, 7), (4, 7)),
        ((4, 7), (4, 7, 1)),
        ((4, 1), (4,)),
        ((4,), (4, 1)),
        ((1, 1), (1,)),
    ],
)
@pytest.mark.parametrize("target", [Real(), MultiCategory(list("a"))])
def test_losses_of_targets_compare_element_for_element(pred, y, target):
    scores, values = torch.randn(pred), torch.rand(y).round()
    expected = target.loss(scores.reshape(-1), values.reshape(-1))
    assert torch.equal(target.loss(scores, values), expected)


@pytest.mark.parametrize(
    ("pred", "y"), [((4, 1), (4, 3)), ((4, 3), (4, 1)), ((4, 3), (4,)), ((4, 5), (5, 4)), ((4, 1), (3,))]
)
@pytest.mark.parametrize(
    "crit", [Real().loss, MultiCategory(list("a")).loss, F.mse_loss, nn.L1Loss(), F.smooth_l1_loss]
)
def test_what_would_only_broadcast_is_refused(pred, y, crit):
    model = nn.Flatten(0) if len(pred) == 1 else nn.Identity()
    with pytest.raises(TrainingError, match=r"differ in (number|shape): there must be one prediction per target"):
        validate(model, [(torch.randn(pred), torch.rand(y))], crit)


def test_a_column_of_classes_and_masks_with_an_axis_of_one():
    scores, y = torch.randn(4, 3, 5, 6), torch.randint(3, (4, 5, 6))
    for crit in (Category(list("abc")).loss, F.cross_entropy, nn.CrossEntropyLoss()):
        expected = F.cross_entropy(scores, y).item()
        assert validate(nn.Identity(), [(scores, y[:, None])], crit)["val_loss"] == pytest.approx(expected)
        assert validate(nn.Identity(), [(scores, y)], crit)["val_loss"] == pytest.approx(expected)


def own(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out.squeeze(1), y)


def naive(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out, y)


def test_a_loss_of_ones_own_gets_what_the_data_holds_and_learns():
    seen = set()

    def crit(out: Tensor, y: Tensor) -> Tensor:
        seen.add((out.ndim, y.ndim))
        return own(out, y)

    model = linear()
    results = fit(model, column_data(), 60, optim.SGD(model.parameters(), lr=0.1), crit, progress=False)
    assert seen == {(2, 1)}
    assert results["val_loss"] < 1e-3


def test_a_metric_of_ones_own_gets_what_the_data_holds():
    model = linear()
    data = column_data(target=Real())
    own_metric = lambda p, y: ((p.squeeze(1) - y) ** 2).mean()  # noqa: E731
    results = fit(
        model, data, 60, optim.SGD(model.parameters(), lr=0.1), Real().loss, ["mse", own_metric], progress=False
    )
    assert results["<lambda>"] == pytest.approx(results["mse"], abs=1e-7)
    assert results["mse"] < 1e-3


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(
    "crit", [naive, lambda out, y: (out - y).abs().mean(), lambda out, y: F.mse_loss(out, y.flatten()), partial(naive)]
)
def test_a_loss_of_ones_own_that_only_broadcasts_is_refused_before_anything_changes(crit):
    model = linear()
    before, state = snapshot(model), torch.get_rng_state()
    with pytest.raises(
        TrainingError, match=r"(?s)compares every prediction with every target.*\(16, 1\).*\(16,\).*squeeze"
    ):
        fit(model, column_data(), 2, optim.SGD(model.parameters(), lr=0.1), crit, progress=False)
    assert_same(before, model)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_metric_of_ones_own_that_only_broadcasts_is_refused():
    model = linear()
    before = snapshot(model)
    with pytest.raises(TrainingError, match="the metric 'naive' compares every prediction with every target"):
        run_fit([], 1, model, column_data(), crit=F.mse_loss, metrics=[naive])
    assert_same(before, model)
    with pytest.raises(TrainingError, match="the metric 'naive'"):
        validate(model, column_data().val_dl, F.mse_loss, [naive])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "crit",
    [
        own,
        lambda out, y: F.mse_loss(out, y[:, None]),
        lambda out, y: F.mse_loss(out.flatten(), y.flatten()),
        lambda out, y: out.square().mean(),  # has no use for targets
        lambda out, y: (out.mean() - y.mean()) ** 2,
    ],
)
def test_losses_that_mean_it_are_left_alone(crit):
    """Bit for bit the loop written by hand, and the random numbers as they were."""
    models = [linear(), linear()]
    data = column_data()
    opt = optim.SGD(models[0].parameters(), lr=0.1)
    torch.manual_seed(3)
    for x, y in data.trn_dl:
        opt.zero_grad()
        crit(models[0](x), y).backward()
        opt.step()
    torch.manual_seed(3)
    fit(models[1], data, 1, optim.SGD(models[1].parameters(), lr=0.1), crit, progress=False)
    assert_same(*models)


def test_a_model_that_says_the_same_of_everything_and_a_loss_that_draws_are_left_alone():
    model = linear()
    nn.init.zeros_(model.weight)

    def noisy(out: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(out.squeeze(1) + 0.01 * torch.randn(len(y)), y)

    torch.manual_seed(0)
    fit(model, column_data(), 1, optim.SGD(model.parameters(), lr=0.1), noisy, progress=False)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    for _ in range(2 * 4):  # four batches to train on, four to validate
        torch.randn(16)
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_first_batch_of_equal_targets_says_nothing_and_the_next_one_is_looked_at():
    data = column_data()
    x, y = data.trn_dl[0]  # type: ignore[index]
    data.trn_dl = [(x, torch.zeros_like(y)), *data.trn_dl]
    model = linear()
    with pytest.raises(TrainingError, match="compares every prediction"):
        fit(model, data, 1, optim.SGD(model.parameters(), lr=0.1), naive, progress=False)


def test_which_losses_are_ones_own():
    class Mine(nn.MSELoss):
        def forward(self, input, target):
            return super().forward(input, target)

    class Count(Real):
        def loss(self, pred, y):
            return F.poisson_nll_loss(pred, y)

    assert all(map(is_own, (naive, lambda p, y: p, Mine(), partial(naive), Count().loss)))
    known = (
        F.mse_loss,
        nn.MSELoss(),
        partial(F.cross_entropy, label_smoothing=0.1),
        Real().loss,
        Category(list("ab")).loss,
    )
    assert not any(map(is_own, known))


# ---------------------------------------------------------------- structures


class Pair(nn.Module):
    """Two outputs, as an autoencoder with a penalty has them."""

    def __init__(self, kind: Any = tuple) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(N_IN, N_CLASSES), nn.Linear(N_IN, 2)
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        return self.kind([self.a(x), self.b(x)])


Outputs = namedtuple("Outputs", "scores rest")


@pytest.mark.parametrize(
    "kind", [tuple, list, lambda parts: Outputs(*parts), lambda parts: dict(zip("ab", parts, strict=True))]
)
def test_a_loss_of_ones_own_gets_what_the_model_returned(kind):
    seen = []

    def crit(out: Any, y: Tensor) -> Tensor:
        seen.append(out)
        scores, rest = out.values() if isinstance(out, dict) else out
        return F.cross_entropy(scores, y) + rest.square().mean()

    model = Pair(kind)
    data = DataBunch(".", batches(), batches(12, 5, seed=1))
    learn = quiet(data, model, crit=crit, metrics=[])
    learn.fit(0.1, 1)
    assert {type(out) for out in seen} == {type(kind([torch.zeros(1), torch.zeros(1)]))}
    x = torch.cat([x for x, _ in batches(12, 5, seed=1)])
    with torch.no_grad():
        expected = model(x)
    preds: Any
    preds, targs = learn.predict_with_targs()
    assert type(preds) is type(expected)
    pairs = (
        zip(preds.values(), expected.values(), strict=True)
        if isinstance(preds, dict)
        else zip(preds, expected, strict=True)
    )
    for said, right in pairs:
        np.testing.assert_allclose(said, right, rtol=1e-5, atol=1e-6)
    assert len(targs) == 12


def test_the_librarys_losses_and_a_regulariser_get_the_first_part():
    def reg_fn(pred: Tensor, extra: Any, loss: Tensor) -> Tensor:
        return loss + extra[0].square().mean()

    def crit(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y)

    models = []
    for loss in (F.cross_entropy, crit):
        models.append(Pair())
        run_fit([LossRegulariser(reg_fn)], 1, models[-1], crit=loss)
    assert_same(*models)

    class Says(Pair):
        returns_extra = True

    model = Says()
    run_fit([], 1, model, crit=crit)  # a model may say that the rest is extra
    learn = quiet(DataBunch(".", batches(), batches()), Says(), crit=crit)
    assert learn.predict().shape == (26, N_CLASSES)


# ---------------------------------------------------------------- how scores are read


def test_the_activation_is_that_of_the_loss_or_ones_own():
    data = DataBunch(".", batches(), batches(), target=Category(list("abc")))
    model = plain_net()
    x = torch.cat([x for x, _ in batches()])
    with torch.no_grad():
        raw = model(x)
    usual = raw.log_softmax(1).numpy()
    focal = lambda p, y: F.cross_entropy(p, y)  # noqa: E731
    cases: list[tuple[dict[str, Any], Any]] = [
        ({}, usual),
        ({"crit": F.cross_entropy}, usual),
        ({"crit": nn.CrossEntropyLoss(weight=torch.ones(3))}, usual),
        ({"crit": F.nll_loss}, usual),
        ({"crit": lambda p, y: F.mse_loss(p, F.one_hot(y, 3).float())}, raw.numpy()),
        ({"crit": F.mse_loss}, raw.numpy()),
        ({"crit": focal, "activation": "log_softmax"}, usual),
        ({"crit": focal, "activation": data.target.activation}, usual),  # type: ignore[union-attr]
        ({"crit": focal, "activation": torch.tanh}, raw.tanh().numpy()),
        ({"activation": "none"}, raw.numpy()),
    ]
    for options, expected in cases:
        learn = quiet(data, model, **options)
        np.testing.assert_allclose(learn.predict(), expected, rtol=1e-5, atol=1e-6)
        if expected is usual:
            np.testing.assert_allclose(learn.predict_proba().sum(1), 1, rtol=1e-5, atol=1e-6)
        else:
            with pytest.raises(DataError, match="these predictions are no log-probabilities"):
                learn.predict_proba()
    with pytest.raises(ValueError, match="`activation` must be one of 'log_softmax', 'sigmoid', 'none', None"):
        quiet(data, model, activation="softmax")


def test_several_labels_with_a_loss_on_probabilities():
    x, y = items(N)
    parts = [(x, F.one_hot(y, N_CLASSES).float())]
    model = nn.Sequential(plain_net(), nn.Sigmoid())
    data = DataBunch(".", parts, parts, target=MultiCategory(list("abc")))
    learn = quiet(data, model, crit=F.binary_cross_entropy, metrics=["accuracy"])
    with torch.no_grad():
        probs = model(x)
    np.testing.assert_allclose(learn.predict_proba(), probs, rtol=1e-5, atol=1e-6)
    share = ((probs >= 0.5) == (parts[0][1] >= 0.5)).float().mean().item()
    assert learn.validate()["accuracy"] == pytest.approx(share)


@pytest.mark.parametrize("crit", [F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss()])
@pytest.mark.parametrize("column", [True, False])
def test_one_logit_is_decided_by_the_activation_of_the_loss(crit, column):
    x, _ = items(N)
    y = (x[:, 0] > 0.3).float()
    y = y[:, None] if column else y
    parts = list(zip(x.split(16), y.split(16), strict=True))
    model = linear()
    learn = quiet(DataBunch(".", parts, parts), model, crit=crit, metrics=["accuracy", "recall"])
    with torch.no_grad():
        said = model(x)[:, 0].sigmoid() >= 0.5
    right = (said == (y.flatten() >= 0.5)).float().mean().item()
    assert learn.validate()["accuracy"] == pytest.approx(right)
    assert learn.fit(1.0, 30)["accuracy"] > 0.85


def test_scores_that_are_no_probabilities_are_not_decided_at_a_threshold():
    x, _ = items(N)
    y = (x[:, 0] > 0).float()
    data = DataBunch(".", [(x, y)], [(x, y)])
    learn = quiet(
        data, linear(), crit=lambda p, t: F.binary_cross_entropy_with_logits(p[:, 0], t), metrics=["accuracy"]
    )
    with pytest.raises(TrainingError, match="decides at the threshold 0.5, and these predictions are no probabilities"):
        learn.validate()
    learn.activation = "sigmoid"
    assert 0 <= learn.validate()["accuracy"] <= 1


@pytest.mark.parametrize("end", [nn.Softmax(dim=1), nn.Sigmoid()])
def test_a_model_that_ends_in_the_activation_is_noticed_once(end):
    several = isinstance(end, nn.Sigmoid)
    parts = [(x, F.one_hot(y, 3).float() if several else y) for x, y in batches()]
    target = MultiCategory(list("abc")) if several else Category(list("abc"))
    words = "after a sigmoid" if several else "as after a softmax"
    learn = quiet(DataBunch(".", parts, parts, target=target), nn.Sequential(plain_net(), end))
    assert [note for note in learn.check() if words in note]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        learn.fit(0.1, 2)
    assert sum(words in str(warning.message) for warning in said) == 1
    good = quiet(DataBunch(".", parts, parts, target=target), plain_net())
    assert good.check() == []
    good.fit(0.1, 1)  # warnings are errors in these tests
    log = quiet(DataBunch(".", parts, parts, target=target), nn.Sequential(plain_net(), nn.LogSoftmax(dim=1)))
    assert log.check() == []


def test_an_exported_learner_reads_its_scores_as_before(tmp_path):
    data = DataBunch(tmp_path, batches(), batches(), target=Category(list("abc")))
    x = batches()[0][0]
    focal = lambda p, y: F.cross_entropy(p, y)  # noqa: E731
    for i, options in enumerate(
        (
            {},
            {"crit": F.mse_loss},
            {"crit": focal},
            {"crit": focal, "activation": "log_softmax"},
            {"activation": "sigmoid"},
        )
    ):
        learn = quiet(data, plain_net(), **options)  # type: ignore[arg-type]
        again = load_learner(learn.export(tmp_path / f"m{i}"), model=plain_net(seed=5))
        np.testing.assert_allclose(again.predict_array(x), learn.predict_array(x), rtol=1e-5, atol=1e-6)
    learn = quiet(data, plain_net(), activation=torch.tanh)
    file = learn.export(tmp_path / "own")
    with pytest.raises(Exception, match="activation of your own: pass it as `activation=`"):
        load_learner(file, model=plain_net())
    again = load_learner(file, model=plain_net(), activation=torch.tanh)
    np.testing.assert_allclose(again.predict_array(x), learn.predict_array(x), rtol=1e-5, atol=1e-6)


class Weighted(Category):
    """Masks in which the front counts twice."""

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(pred, y, weight=torch.tensor([1.0, 2.0, 1.0]))


class ChannelsLast(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv(x).movedim(1, -1)
        return scores


@pytest.mark.parametrize("wrap", [None, ChannelsLast])
def test_a_target_knows_which_axis_of_the_scores_holds_the_classes(wrap: Any) -> None:
    """As many classes as rows and columns, so that no shape gives the axis away."""
    torch.manual_seed(0)
    x = torch.randn(12, 1, 3, 3)
    y = 1 + x[:, 0].clamp(-1, 1).round().long()
    target = Weighted(list("abc")) if wrap is None else Category(list("abc"), class_axis=-1)
    conv = nn.Conv2d(1, 3, 1)
    model = conv if wrap is None else wrap(conv)
    parts = list(zip(x.split(4), y.split(4), strict=True))
    learn = quiet(
        DataBunch(".", parts, parts, target=target), model, metrics=["accuracy", "error_rate", "f1", "perplexity"]
    )
    assert learn.check() == []
    first = learn.validate()
    results = learn.fit(0.5, 20)
    with torch.no_grad():
        scores = conv(x)
    assert results["val_loss"] < first["val_loss"]
    weight = torch.tensor([1.0, 2.0, 1.0]) if wrap is None else None
    by_hand = [F.cross_entropy(a, b, weight=weight) for a, b in zip(scores.split(4), y.split(4), strict=True)]
    assert results["val_loss"] == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)
    assert results["accuracy"] == pytest.approx(float((scores.argmax(1) == y).float().mean()))
    assert results["perplexity"] == pytest.approx(float(F.cross_entropy(scores, y).exp()), rel=1e-5)
    preds = learn.predict()
    np.testing.assert_allclose(preds, scores.log_softmax(1).movedim(1, target.class_axis), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(learn.predict_proba().sum(target.class_axis), 1, rtol=1e-5)
    assert learn.interpret().confusion_matrix().trace() == (scores.argmax(1) == y).sum()


# ---------------------------------------------------------------- penalties


@pytest.mark.parametrize(
    ("penalty", "size"), [(l1_penalty, lambda p: p.abs().sum()), (l2_penalty, lambda p: (p**2).sum())]
)
def test_penalties_by_layer_group(penalty, size):
    learn = quiet(DataBunch(".", batches(), batches(), target=Category(list("abc"))), plain_net())
    groups = learn.get_layer_groups()
    first, last = (
        float(sum(size(p.detach()) for m in group for p in m.parameters())) for group in (groups[0], groups[-1])
    )
    zero = torch.zeros(())
    factors = [0.0] * len(groups)
    assert penalty(groups, factors)(None, (), zero).item() == 0
    factors[0], factors[-1] = 0.5, 2.0
    expected = 0.5 * first + 2 * last
    assert penalty(groups, factors)(None, (), zero).item() == pytest.approx(expected)
    everything = float(sum(size(p.detach()) for p in learn.model.parameters()))
    assert penalty(learn.model, 0.1)(None, (), zero).item() == pytest.approx(0.1 * everything)
    assert penalty(list(learn.model.children()), factors)(None, (), zero).item() == pytest.approx(
        expected
    )  # a layer is a group
    learn.freeze_to(-1)
    assert penalty(groups, factors)(None, (), zero).item() == pytest.approx(2 * last)
    learn.unfreeze()
    learn.reg_fn = penalty(groups, factors)
    learn.fit(0.05, 5)
    assert float(sum(size(p.detach()) for p in learn.model.parameters())) < everything
    with pytest.raises(ValueError, match=r"one per layer group: there are \d group\(s\) and 1 numbers"):
        penalty(groups, [0.1])
    with pytest.raises(ValueError, match="must not be negative"):
        penalty(learn.model, -1)
