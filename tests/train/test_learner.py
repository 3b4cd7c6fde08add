"""The Learner prepares and hands over to the loop; its helpers leave no trace, its errors nothing half done."""

from __future__ import annotations

import math
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset

from learnkit import (
    Callback,
    CancelFit,
    Category,
    CheckpointError,
    CSVLog,
    DataBunch,
    DataError,
    EarlyStopping,
    GradientClip,
    Learner,
    LearnkitError,
    LossRegulariser,
    MixUp,
    MultiCategory,
    NonFiniteError,
    ProgressTable,
    Real,
    Recorder,
    ReduceOnPlateau,
    SaveBest,
    StopOnNaN,
    TensorBoardLog,
    TrainingError,
    WeightAverage,
    fit,
    load_learner,
    validate,
)
from learnkit.train.events import EVENTS
from tests.train.helpers import (
    N_CLASSES,
    N_IN,
    Events,
    Trace,
    World,
    assert_same,
    batches,
    bunch,
    items,
    learner,
    n_hooks,
    net,
    plain_loop,
    plain_net,
    snapshot,
)

# ---------------------------------------------------------------- it is the loop


@pytest.mark.parametrize("accumulate", [1, 3])
def test_fit_equals_a_loop_written_by_hand(accumulate):
    learn, model = learner(accumulate=accumulate), net()
    torch.manual_seed(1)
    learn.fit(0.02, 3)
    torch.manual_seed(1)
    opt = optim.AdamW(model.parameters(), lr=0.02, betas=(0.9, 0.99), weight_decay=0)
    plain_loop(model, batches(), batches(12, 5, seed=1), 3, opt, F.cross_entropy, accumulate)
    assert_same(learn.model, model)


def test_settings_of_the_learner_are_those_of_the_loop(monkeypatch):
    """Also when they are set after it was made."""
    compiled = []

    def keep(model: nn.Module, backend: str) -> nn.Module:
        compiled.append((model, backend))
        return model

    monkeypatch.setattr(torch, "compile", keep)
    learn = learner(opt_fn=optim.SGD)
    learn.precision, learn.accumulate, learn.clip, learn.compile = "bf16", 2, 0.1, True
    torch.manual_seed(1)
    results = learn.fit(0.1, 2)
    assert compiled == [(learn.model, "inductor")]
    model = net()
    torch.manual_seed(1)
    other = fit(
        model,
        bunch(),
        2,
        optim.SGD(model.parameters(), lr=0.1),
        F.cross_entropy,
        ["accuracy"],
        precision="bf16",
        accumulate=2,
        clip=0.1,
        progress=False,
    )
    assert_same(learn.model, model)
    assert results == other


def test_every_fit_has_a_new_optimizer():
    made = []

    def opt_fn(params: Any, lr: float) -> optim.Optimizer:
        made.append(lr)
        return optim.SGD(params, lr=lr, momentum=0.9)

    learn = learner(opt_fn=opt_fn)
    assert made == []
    learn.fit(0.1, 1)
    learn.fit([0.1] * 6 + [0.2], 1)
    assert made == [0.1, 0.2]


@pytest.mark.parametrize(
    ("target", "y", "crit", "metric"),
    [
        (Category(list("abc")), lambda y: y, F.cross_entropy, "accuracy"),
        (MultiCategory(list("abc")), lambda y: F.one_hot(y, 3).float(), F.binary_cross_entropy_with_logits, "f2"),
        (Real(3), lambda y: F.one_hot(y, 3).float(), F.mse_loss, "rmse"),
    ],
)
def test_target_brings_loss_and_metrics_and_what_is_given_wins(target, y, crit, metric):
    parts = [(x, y(t)) for x, t in batches()]
    data = DataBunch(".", parts, parts, target=target)
    learn = learner(model=plain_net(), data=data)
    x, t = parts[0]
    pred = learn.model(x)
    assert learn.crit(pred, t).item() == crit(pred, t).item()
    assert list(learn.fit(0.01, 1)) == ["trn_loss", "val_loss", metric]
    assert list(learn.fit(0.01, 1, metrics=[])) == ["trn_loss", "val_loss"]
    own = Learner(data, learn.model, crit=lambda pred, y: 2 * crit(pred, y), metrics=[])
    assert own.validate() == {"val_loss": pytest.approx(2 * learn.validate()["val_loss"])}
    assert list(own.validate(metrics=[metric])) == ["val_loss", metric]


def test_callbacks_of_the_learner_are_used_in_every_fit_and_those_of_a_fit_once():
    always, once = Trace(), Trace()
    learn = learner(callbacks=[always])
    learn.fit(0.1, 1, callbacks=[once])
    learn.fit(0.1, 1)
    assert (len(always.steps), len(once.steps)) == (2 * len(batches()), len(batches()))
    assert learn.callbacks == [always]


def test_validate_takes_another_loader():
    learn = learner()
    whole = learn.validate(batches(40))
    assert whole["val_loss"] != learn.validate()["val_loss"]
    with pytest.raises(DataError, match="has no validation set"):
        learner(data=DataBunch(".", batches(), target=Category(list("abc")))).validate()


# ---------------------------------------------------------------- leaving no trace


class Noisy(Dataset[Any]):
    """Draws from every random generator there is."""

    def __init__(self) -> None:
        self.x, self.y = items()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = random.random() + np.random.rand() + torch.rand(N_IN)  # noqa: NPY002
        return self.x[i] + 0.1 * noise, self.y[i]


def noisy_learner() -> Learner:
    def loader(seed: int) -> DataLoader[Any]:
        return DataLoader(Noisy(), 8, shuffle=True, generator=torch.Generator().manual_seed(seed))

    learn = learner(model=net(), data=DataBunch(".", loader(1), loader(2), target=Category(list("abc"))))
    learn.reg_fn = lambda pred, extra, loss: loss + 0.1 * pred.square().mean()
    learn.clip = 1.0
    return learn


HELPERS: dict[str, Any] = {
    "lr_find": lambda learn: learn.lr_find(n_iter=12),
    "lr_find that blows up": lambda learn: learn.lr_find(1.0, 1e8, n_iter=40),
    "validate": lambda learn: learn.validate(),
    "predict": lambda learn: learn.predict(),
    "predict_with_targs": lambda learn: learn.predict_with_targs(),
    "predict_proba": lambda learn: learn.predict_proba(),
    "predict_array": lambda learn: learn.predict_array(items()[0]),
    "summary": lambda learn: learn.summary(),
    "summary of inputs": lambda learn: learn.summary([items()[0]]),
    "save": lambda learn: learn.save("here"),
    "get_layer_groups": lambda learn: learn.get_layer_groups(),
    "val_y": lambda learn: learn.data.val_y,
    "repr": repr,
}


@pytest.mark.parametrize("name", HELPERS)
@pytest.mark.parametrize("prepare", ["trained", "frozen, with gradients, some layers in eval mode"])
def test_helper_leaves_everything_as_it_was_and_later_training_bit_identical(name, prepare, tmp_path):
    runs = []
    for use in (True, False):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        learn = noisy_learner()
        learn.data.path = tmp_path
        learn.fit(0.05, 1)
        if prepare != "trained":
            learn.freeze_to(2)
            learn.bn_freeze()
            learn.model(items()[0]).sum().backward()
            learn.model[3].eval()  # type: ignore[index]
        world = World(learn)
        if use:
            HELPERS[name](learn)
        world.assert_unchanged(learn)
        learn.fit(0.05, 2, cycle_len=1)
        runs.append(learn)
    helped, plain = runs
    assert_same(helped.model, plain.model)
    assert helped.sched.losses == plain.sched.losses
    assert helped.sched.lrs == plain.sched.lrs
    World(plain).assert_unchanged(plain)
    assert torch.equal(*(learn.data.trn_dl.generator.get_state() for learn in runs))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in HELPERS if "blows up" not in name])
def test_helper_leaves_hidden_states_as_they_were(name, tmp_path):
    """A recurrent model keeps its state in an attribute or a buffer."""

    class Stateful(nn.Module):
        steps: Tensor

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inp, self.out = nn.Linear(N_IN, 4), nn.Linear(4, N_CLASSES)
            self.state: Any = None
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x):
            before = 0.0 if self.state is None else self.state[0]
            h = torch.tanh(self.inp(x) + before)
            self.state = (h.detach().mean(0),)
            self.steps += 1
            return self.out(h)

    model = Stateful()
    learn = learner(tmp_path, model)
    for _ in range(2):
        steps, state = model.steps.clone(), None if model.state is None else model.state[0].clone()
        HELPERS[name](learn)
        assert (model.state is None) == (state is None)
        assert state is None or torch.equal(state, model.state[0])
        assert torch.equal(model.steps, steps)
        learn.fit(0.01, 1)


# ---------------------------------------------------------------- errors in the middle


def everything(folder: Any) -> list[Callback]:
    return [
        CSVLog(folder / "log.csv"),
        EarlyStopping(),
        GradientClip(0.5),
        LossRegulariser(lambda pred, extra, loss: loss + pred.square().mean()),
        MixUp(),
        ProgressTable(),
        Recorder(),
        ReduceOnPlateau(),
        SaveBest(folder / "best", restore=True),
        StopOnNaN(),
        TensorBoardLog(folder / "board"),
        WeightAverage(0.9),
    ]


def raise_at(event: str, error: type[BaseException]) -> Callback:
    """Raises in the second epoch, the first time it hears the event."""

    def stop(self: Any, run: Any) -> None:
        if run.epoch == 1 or event.endswith("fit"):
            raise error

    return type("Stop", (Callback,), {event: stop})()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("event", EVENTS)
def test_learner_is_usable_after_an_error_from_every_event(event, error, tmp_path):
    """Its callbacks are detached, and what is trained afterwards is what would have been trained anyway."""
    learn = learner(tmp_path, callbacks=everything(tmp_path))
    learn.fit(0.1, 1)
    cleaned = []

    class Cleaned(Callback):
        def cleanup_fit(self, run):
            cleaned.append(1)

    settings = World(learn).settings
    for place in (0, 1):
        stop = [raise_at(event, error), Cleaned()]
        with pytest.raises(error):
            learn.fit(0.1, 1, cycle_len=2, callbacks=stop[:: 1 if place else -1], best_save_name="best")
    assert cleaned == [1, 1]
    assert n_hooks(learn.model) == 0
    assert World(learn).settings == settings
    assert all(p.grad is None for p in learn.model.parameters())
    assert len(learn.sched.losses) == len(learn.sched.lrs) == len(learn.sched.moms)
    assert all(map(math.isfinite, learn.sched.losses))

    runs = [learn, learner(tmp_path)]
    learn.callbacks = []
    for each in runs:
        each.model.load_state_dict(net().state_dict())
        torch.manual_seed(1)
        each.fit(0.05, 1, cycle_len=2)
    assert_same(runs[0].model, runs[1].model)
    assert runs[0].sched.losses == runs[1].sched.losses
    assert learn.predict().shape == (12, N_CLASSES)


def test_weights_after_ctrl_c_are_those_of_the_last_step():
    learn, trace = learner(), Trace()
    with pytest.raises(KeyboardInterrupt):
        learn.fit(0.1, 2, callbacks=[trace, raise_at("after_batch", KeyboardInterrupt)])
    assert_same(learn.model, trace.steps[-1])
    assert len(trace.steps) == len(batches()) + 1


# ---------------------------------------------------------------- bad input


def test_rates_of_the_wrong_length_print_the_groups_and_change_nothing():
    learn = learner()
    learn.fit(0.1, 1)
    world = World(learn)
    for train in (partial(learn.fit, n_cycle=1), lambda lrs: learn.fit_one_cycle(1, lrs)):
        words = (
            r"(?s)`lrs` must be one number or 7, one per layer group; got 2\..*0: Linear \(56 .*1: BatchNorm1d \(16 "
        )
        with pytest.raises(ValueError, match=words):
            train([0.1, 0.2])
    with pytest.raises(ValueError, match="`wds` must be one number or 7"):
        learn.fit(0.1, 1, wds=[0.1, 0.2, 0.3])
    world.assert_unchanged(learn)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: DataBunch(".", []), DataError, "training loader is empty.*drop_last"),
        (lambda: DataBunch(".", batches(), []), DataError, "validation loader is empty.*`val_dl` is None"),
    ],
)
def test_empty_loader_changes_nothing(make, error, words):
    learn = learner(crit=F.cross_entropy)
    learn.fit(0.1, 1)
    learn.data = make()
    world = World(learn)
    with pytest.raises(error, match=words):
        learn.fit(0.1, 1)
    world.assert_unchanged(learn)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metrics": ["acuracy"]}, r"unknown metric 'acuracy'. Did you mean 'accuracy'\?"),
        ({"metrics": ["f3"]}, "unknown metric 'f3'.*Known are: accuracy"),
        ({"callbacks": [print]}, "must hold learnkit callbacks"),
        ({"callbacks": Trace()}, r"must be a list; write \[Trace"),
    ],
)
def test_unknown_metric_or_callback_changes_nothing(arguments, words):
    learn = learner()
    learn.fit(0.1, 1)
    world = World(learn)
    with pytest.raises((ValueError, TypeError), match=words):
        learn.fit(0.1, 1, **arguments)
    world.assert_unchanged(learn)


def test_everything_frozen():
    learn = learner()
    for p in learn.model.parameters():
        p.requires_grad_(False)
    world = World(learn)
    for train in (lambda: learn.fit(0.1, 1), lambda: learn.fit_one_cycle(1, 0.1)):
        with pytest.raises(TrainingError, match=r"everything is frozen. Call `learn.unfreeze\(\)`"):
            train()
    world.assert_unchanged(learn)
    learn.unfreeze()
    learn.fit(0.1, 1)


def spoilt(change: Any, batch: int = 2) -> DataBunch:
    parts = [change(x.clone(), y.clone()) if i == batch else (x, y) for i, (x, y) in enumerate(batches())]
    return DataBunch(".", parts, batches(8), target=Category(list("abc")))


def nan_in(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x[[1, 4], 2] = math.nan
    return x, y


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (nan_in, NonFiniteError, r"loss of batch 2 in epoch 0.*its input holds NaN.*2 of 8 items \(numbers 1, 4 "),
        (lambda x, y: (x * 1e38, y), NonFiniteError, r"batch 2 in epoch 0"),
        (lambda x, y: (x, y.float()), TrainingError, r"target is float32 \(8,\).*`y\.long\(\)`"),
        (lambda x, y: (x, y + 5), TrainingError, r"holds class 7.*scores classes 0 to 2"),
        (lambda x, y: x, DataError, r"must be a tuple \(x, y\).*no target, add one"),
        (lambda x, y: (x[:, :3], y), TrainingError, r"model failed on batch 2 of epoch 0: inputs \[float32 \(8, 3\)\]"),
    ],
)
def test_bad_batch_is_named_and_the_learner_stays_usable(change, error, words):
    learn = learner(data=spoilt(change))
    before = snapshot(learn.model)
    with pytest.raises(error, match="(?s)" + words) as caught:
        learn.fit(0.01, 2)
    assert isinstance(caught.value, LearnkitError)
    if error is NonFiniteError:
        assert_same(before, learn.model)
    assert n_hooks(learn.model) == 0
    learn.data = bunch()
    learn.fit(0.01, 1)
    assert len(learn.sched.losses) == len(batches())


def test_nan_loss_names_the_rate_and_puts_the_weights_back():
    def crit(pred: Tensor, y: Tensor) -> Tensor:
        loss = F.cross_entropy(pred, y)
        calls.append(1)
        return loss * math.nan if len(calls) == 9 else loss

    calls: list[int] = []
    learn, trace = learner(crit=crit), Trace()
    words = r"batch 1 in epoch 1 is not finite, though its inputs are.*rate 0\.02.*lr_find.*`learn\.clip = 1\.0`"
    with pytest.raises(NonFiniteError, match=words):
        learn.fit(0.02, 3, callbacks=[trace])
    assert_same(learn.model, trace.after_training[0])
    assert len(learn.sched.epochs) == 1


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Learner(DataBunch(".", batches()), net()), DataError, "no loss: pass `crit=`.*target=Category"),
        (lambda: Learner(bunch(), net), TypeError, "`model` must be an nn.Module; got function"),  # type: ignore[arg-type]
        (lambda: Learner(bunch(), net(), callbacks=[Trace]), TypeError, "Pass an instance"),  # type: ignore[list-item]
        (lambda: Learner(bunch(), net(), precision="half"), ValueError, "`precision` must be one of"),
    ],
)
def test_what_a_learner_cannot_be_made_of(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_fp16_on_the_cpu_is_said_when_the_learner_is_made():
    with pytest.warns(UserWarning, match=r"fp16.*fp32"):
        learner(precision="fp16", device="cpu")


# ---------------------------------------------------------------- summary, data, text


def test_summary_lists_shapes_parameters_and_what_trains():
    learn = learner()
    learn.freeze_to(4)
    summary = learn.summary()
    rows = [
        (row.name, row.kind, row.input_shape, row.output_shape, row.nb_params, row.trainable) for row in summary.layers
    ]
    assert rows == [
        ("0", "Linear", (-1, 6), (-1, 8), 56, False),
        ("1", "BatchNorm1d", (-1, 8), (-1, 8), 16, False),
        ("2", "ReLU", (-1, 8), (-1, 8), 0, None),
        ("3", "Dropout", (-1, 8), (-1, 8), 0, None),
        ("4", "Linear", (-1, 8), (-1, 5), 45, True),
        ("5", "ReLU", (-1, 5), (-1, 5), 0, None),
        ("6", "Linear", (-1, 5), (-1, 3), 18, True),
    ]
    assert (summary.nb_params, summary.nb_trainable) == (135, 63)
    text = str(summary).splitlines()
    assert text[0].split() == ["layer", "kind", "input", "output", "params", "trainable"]
    assert text[2].split() == ["0", "Linear", "(-1,", "6)", "(-1,", "8)", "56", "frozen"]
    assert text[-1] == "135 parameters: 63 trainable, 72 frozen"


def test_summary_of_a_model_with_two_inputs_and_shared_layers():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.lin = nn.Embedding(4, 3), nn.Linear(3, 3)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, cats, conts):
            return self.lin(self.lin(self.emb(cats)) + conts) * self.scale

    data = DataBunch(
        ".", [(torch.zeros(5).long(), torch.zeros(5, 3), torch.zeros(5).long())], target=Category(list("abc"))
    )
    summary = learner(model=Two(), data=data).summary()
    assert [(row.name, row.output_shape, row.nb_params) for row in summary.layers] == [
        ("emb", (-1, 3), 12),
        ("lin", (-1, 3), 12),
        ("lin", (-1, 3), 0),
        ("(model)", (-1, 3), 3),
    ]
    assert summary.nb_params == 27
    given = learner(model=Two(), data=data).summary([torch.zeros(2).long(), torch.zeros(2, 3)])
    assert str(given) == str(summary)


def test_summary_removes_its_hooks_when_the_model_fails():
    learn = learner()
    modes = [m.training for m in learn.model.modules()]
    with pytest.raises(TrainingError, match=r"the model failed on inputs .*\(2, 5\)"):
        learn.summary([torch.zeros(2, 5)])
    assert n_hooks(learn.model) == 0
    assert [m.training for m in learn.model.modules()] == modes
    with pytest.raises(DataError, match="no batch to run the model on; pass its inputs as `xs`"):
        learner(data=DataBunch(".", [], target=Category(list("abc")))).summary()


def test_a_layer_says_whether_it_trains():
    learn: Any = learner()
    assert all(learn.trainable(layer) for layer in learn.model)
    learn.freeze_to(-1)
    assert [learn.trainable(layer) for layer in learn.model] == [False] * (len(learn.model) - 1) + [True]
    assert not any(layer.trainable for layer in learn.model[:-1])
    assert learn.trainable(learn.model)
    for p in learn.model.parameters():
        p.requires_grad_(True)  # by hand
    assert learn.trainable(learn.model[0])
    for other in (nn.Linear(2, 2), 0, "head"):
        with pytest.raises(ValueError, match=r"must be a module of `learn.model`"):
            learn.trainable(other)


def test_weights_of_a_cycle_are_loaded_by_its_number(tmp_path):
    learn = learner(tmp_path)
    learn.fit(0.1, 2, cycle_len=1, cycle_save_name="first")
    after = {name: x.clone() for name, x in learn.model.state_dict().items()}
    learn.load_cycle("first", 0)
    assert not torch.equal(learn.model.state_dict()["0.weight"], after["0.weight"])
    learn.load_cycle("first", 1)
    assert all(torch.equal(x, after[name]) for name, x in learn.model.state_dict().items())
    with pytest.raises(CheckpointError, match="no weights were saved at the end of cycle 2 as 'first'; there are 0, 1"):
        learn.load_cycle("first", 2)
    with pytest.raises(CheckpointError, match="there is no cycle of that name"):
        learn.load_cycle("second", 0)


def test_summary_takes_a_single_input_and_batches_that_are_dicts():
    learn: Any = learner()
    for xs in (torch.zeros(2, 6), np.zeros((2, 6), np.float32), [np.zeros((2, 6), np.float32)]):
        assert learn.summary(xs).layers[0].input_shape == (-1, 6)

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 3)

        def forward(self, a, b):
            return self.lin(a) + self.lin(b)

    batch = {"b": torch.zeros(4, 3), "a": torch.zeros(4, 3), "y": torch.zeros(4).long()}
    summary = learner(model=Sum(), data=DataBunch(".", [batch], target=Category(list("abc")))).summary()
    assert [(row.name, row.nb_params) for row in summary.layers] == [("lin", 12), ("lin", 0)]


def test_set_data_goes_on_with_the_same_model():
    learn = learner()
    model, other = learn.model, DataBunch(".", batches(16), batches(9), target=Category(list("abc")))
    learn.set_data(other)
    assert learn.model is model
    assert learn.predict().shape == (9, N_CLASSES)
    for data, words in [
        (
            DataBunch(".", [], target=Category(list("abd"))),
            r"new data predicts Category \['a', 'b', 'd'\].*\['a', 'b', 'c'\]",
        ),
        (DataBunch(".", [], target=Real()), "new data predicts Real; the model was made for Category"),
        (DataBunch(".", [], target=MultiCategory(list("abc"))), "new data predicts MultiCategory"),
    ]:
        with pytest.raises(DataError, match=words):
            learn.set_data(data)
        assert learn.data is other


def test_model_moves_to_the_device_and_repr_says_where():
    learn = learner(device="meta")
    assert {p.device.type for p in learn.model.parameters()} == {"meta"}
    assert repr(learner(device="cpu")).startswith("Learner on cpu\nSequential(")


def test_load_puts_back_what_was_saved_and_trains_on_alike(tmp_path):
    learn = learner(tmp_path)
    learn.fit(0.05, 1)
    learn.save("a")
    torch.manual_seed(1)
    learn.fit(0.05, 1)
    expected = snapshot(learn.model)
    learn.load("a")
    torch.manual_seed(1)
    learn.fit(0.05, 1)
    assert_same(expected, learn.model)


def test_learns():
    """After all."""
    x, y = items(200)
    data = DataBunch(
        ".",
        list(zip(x[:150].split(25), y[:150].split(25), strict=True)),
        [(x[150:], y[150:])],
        target=Category(list("abc")),
    )
    learn = learner(model=net(p=0.0), data=data)
    assert learn.validate()["accuracy"] < 0.6
    assert learn.fit(0.03, 3, cycle_len=1, cycle_mult=2)["accuracy"] > 0.75


class Shifts(Callback):
    """Changes what is seen, in training and validation; prepared when the fit begins."""

    def before_fit(self, run: Any) -> None:
        self.by = 0.5

    def before_batch(self, run: Any) -> None:
        run.xs = (run.xs[0] + self.by,)

    def cleanup_fit(self, run: Any) -> None:
        del self.by


def test_validate_hears_the_callbacks_of_the_fit():
    learn = learner(callbacks=[Shifts()])
    found = learn.fit(0.01, 2)
    assert learn.validate() == {name: found[name] for name in ("val_loss", "accuracy")}
    learn.callbacks = []
    assert learn.validate() != {name: found[name] for name in ("val_loss", "accuracy")}


def test_the_events_of_a_validation():
    events = Events()
    model = plain_net()
    found = validate(model, batches(16, 8), F.cross_entropy, ["accuracy"], [events])
    one = ["before_batch", "after_pred", "after_loss", "after_batch"]
    assert events.log == ["before_fit", "before_valid", *one, *one, "after_valid", "after_fit", "cleanup_fit"]
    assert list(found) == ["val_loss", "accuracy"]

    class Ends(Callback):
        def before_batch(self, run: Any) -> None:
            raise CancelFit

    with pytest.raises(TrainingError, match="a callback ended the validation before its end"):
        validate(model, batches(16, 8), F.cross_entropy, callbacks=[Ends()])


def test_names_of_files_are_looked_at(tmp_path):
    learn = Learner(DataBunch(tmp_path, [(torch.randn(4, 3), torch.randn(4, 1))]), nn.Linear(3, 1), crit=F.mse_loss)
    calls: list[Any] = [learn.save, learn.load, learn.export, load_learner]
    for call in [*calls, lambda name: learn.fit(1e-2, 1, checkpoint=name)]:
        with pytest.raises(TypeError, match="must be a name or path"):
            call(3)
        with pytest.raises(ValueError, match="empty text"):
            call("")
    assert not list(tmp_path.glob("*.safetensors"))  # the folder's own name is none
    with pytest.raises(CheckpointError, match=r"is a folder, and a file is expected"):
        load_learner(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds weights alone: make the learner, then `learn.load`"):
        load_learner(learn.save("some"))
