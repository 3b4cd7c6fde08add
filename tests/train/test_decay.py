"""The course's schedules of weight decay, against the loop written by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from learnkit import DataBunch, LayerOptimizer, Learner, WeightDecaySchedule, fit

LR, WD, NB = 0.05, 2e-3, 4
FOLLOW_THE_RATE: Callable[[WeightDecaySchedule], Any] = lambda s: np.array(s.layer_opt.lrs) / s.init_lrs  # noqa: E731


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 5, generator=generator), torch.randint(3, (8,), generator=generator)) for _ in range(NB)]


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def learner(opt_fn: Any = None) -> Any:
    learn = Learner(DataBunch(".", batches()), net(), opt_fn, F.cross_entropy)
    learn.no_progress()
    return learn


def by_hand(opt: Any, model: Any, cycles: list[int], decay: Callable[[int, float], float]) -> None:
    """Cosine cycles; each step moves the weights from `p` to `step(p) - decay * p`, `decay` of (steps of cycle, cosine)."""
    for n_epochs in cycles:
        n = n_epochs * NB
        for step in range(n):
            x, y = batches()[step % NB]
            cos = (1 + np.cos(np.pi * step / n)) / 2
            for group in opt.param_groups:
                group["lr"] = group["base"] * cos
            opt.zero_grad()
            F.cross_entropy(model(x), y).backward()
            old = [p.detach().clone() for p in model.parameters()]
            opt.step()
            with torch.no_grad():
                for p, before in zip(model.parameters(), old, strict=True):
                    p.sub_(before, alpha=decay(n, cos))


OPTIMIZERS: dict[str, tuple[Any, Any]] = {
    "default": (None, lambda params: optim.AdamW(params, betas=(0.9, 0.99), weight_decay=0)),
    "adam": (optim.Adam, optim.Adam),
    "sgd": (lambda p, lr: optim.SGD(p, lr, 0.9), lambda params: optim.SGD(params, LR, 0.9)),
}
SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[int, float], float]]] = {
    "plain": ({}, lambda n, cos: WD),
    "norm": ({"norm_wds": True}, lambda n, cos: WD / np.sqrt(n)),
    "multiplied": ({"wds_sched_mult": FOLLOW_THE_RATE}, lambda n, cos: WD * cos),
    "both": ({"norm_wds": True, "wds_sched_mult": FOLLOW_THE_RATE}, lambda n, cos: WD * cos / np.sqrt(n)),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_are_those_of_the_loop_by_hand(schedule: str, optimizer: str) -> None:
    arguments, decay = SCHEDULES[schedule]
    opt_fn, make = OPTIMIZERS[optimizer]
    learn = learner(opt_fn)
    learn.fit(LR, 2, wds=WD, cycle_len=1, cycle_mult=2, use_wd_sched=True, **arguments)
    model = net()
    opt = make([{"params": list(model.parameters()), "base": LR}])
    by_hand(opt, model, [1, 2], decay)
    for own, hand in zip(learn.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(own, hand, rtol=1e-4, atol=1e-6)


def test_it_differs_from_the_usual_decay_and_from_none() -> None:
    weights = []
    arguments: dict[str, Any]
    for arguments in ({}, {"wds": WD}, {"wds": WD, "use_wd_sched": True}):
        learn = learner()
        learn.fit(LR, 1, cycle_len=2, **arguments)
        weights.append(torch.cat([p.flatten() for p in learn.model.parameters()]))
    assert (weights[0] - weights[1]).abs().max() > 1e-5
    assert (weights[1] - weights[2]).abs().max() > 1e-3


def test_each_layer_group_has_its_decay_and_frozen_weights_keep_still() -> None:
    learn = learner()
    learn.freeze_to(-1)
    before = learn.model[0].weight.detach().clone()
    learn.fit([LR, LR, LR], 1, wds=[0.5, 0.0, WD], cycle_len=1, use_wd_sched=True)
    assert torch.equal(learn.model[0].weight, before)
    learn.unfreeze()
    schedule = [0.0, 0.0, 0.25]
    learn.fit(0.0, 1, wds=schedule, use_wd_sched=True)  # at a rate of zero the decay is all that happens
    np.testing.assert_allclose(learn.model[0].weight.detach(), before, rtol=1e-5, atol=1e-6)
    last = learn.model[2].weight.detach().clone()
    learn.fit(0.0, 1, wds=schedule, use_wd_sched=True)
    np.testing.assert_allclose(learn.model[2].weight.detach(), last * 0.75**NB, rtol=1e-5, atol=1e-6)


def test_by_itself_with_the_loop_and_the_optimizer_is_given_back_its_decay() -> None:
    model: Any = net()
    lo = LayerOptimizer(optim.Adam, model, 0.0, 0.1)
    data = DataBunch(".", batches())
    start = model[0].weight.detach().clone()
    fit(model, data, 1, lo.opt, F.cross_entropy, None, [WeightDecaySchedule(lo, NB, 1, 1, 1)], progress=False)
    np.testing.assert_allclose(model[0].weight.detach(), start * 0.9**NB, rtol=1e-5, atol=1e-6)
    assert lo.wds == [0.1]
    with pytest.raises(ValueError, match="1 epochs, and 2 are to be trained"):
        fit(model, data, 2, lo.opt, F.cross_entropy, None, [WeightDecaySchedule(lo, NB, 1, 1, 1)], progress=False)
    other = LayerOptimizer(optim.Adam, model, 0.1, 0.1)
    with pytest.raises(ValueError, match="another optimizer"):
        fit(model, data, 1, other.opt, F.cross_entropy, None, [WeightDecaySchedule(lo, NB, 1, 1, 1)], progress=False)


def test_a_fit_that_was_broken_off_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    arguments = {"wds": WD, "cycle_len": 1, "cycle_mult": 2, "use_wd_sched": True, "norm_wds": True}
    whole = learner()
    whole.fit(LR, 2, **arguments, checkpoint=tmp_path, every=5)
    again = learner()
    again.resume(tmp_path)
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_arguments_that_need_each_other_say_so(tmp_path: Path) -> None:
    learn = learner()
    with pytest.raises(ValueError, match="pass `wds` too"):
        learn.fit(LR, 1, use_wd_sched=True)
    with pytest.raises(ValueError, match="`norm_wds`.*use_wd_sched=True"):
        learn.fit(LR, 1, wds=WD, norm_wds=True)
    with pytest.raises(ValueError, match="`wds_sched_mult`.*use_wd_sched=True"):
        learn.fit(LR, 1, wds=WD, wds_sched_mult=FOLLOW_THE_RATE)
    with pytest.raises(ValueError, match="cannot keep the function"):
        learn.fit(LR, 1, wds=WD, use_wd_sched=True, wds_sched_mult=FOLLOW_THE_RATE, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="`wds_sched_mult` must"):
        learn.fit(LR, 1, wds=WD, use_wd_sched=True, wds_sched_mult=lambda s: [1.0, 2.0, 3.0])


def test_slanted_triangles_rise_and_fall_as_written() -> None:
    learn = learner()
    learn.fit(LR, 1, cycle_len=5, use_clr=(20, 10))
    n = 5 * NB
    cut = n / 10
    by_formula = [
        LR * (1 + (i / cut if i <= cut else 1 - (i - cut) / (n - cut)) * 19) / 20 for i in range(n)
    ]  # 19 = div - 1
    np.testing.assert_allclose(learn.sched.lrs, by_formula)
    with pytest.raises(ValueError, match="one cycle"):
        learn.fit(LR, 1, cycle_len=1, use_clr=(20, 10), use_clr_beta=(10, 10))
    with pytest.raises(ValueError, match=r"\(div, cut_div\)"):
        learn.fit(LR, 1, cycle_len=1, use_clr=(20, 10, 3))
    with pytest.raises(ValueError, match="cut_div > 1"):
        learn.fit(LR, 1, cycle_len=1, use_clr=(20, 1))
    with pytest.raises(ValueError, match="`use_clr` needs cycles"):
        learn.fit(LR, 1, use_clr=(20, 10))
