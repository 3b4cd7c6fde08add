"""Several players in one loop: each learns in its turn, as two optimizers would in a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable as Function
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

from learnkit import (
    Callback,
    CancelBatch,
    CheckpointError,
    CosAnneal,
    CSVLog,
    DataBunch,
    LayerOptimizer,
    MixUp,
    Player,
    ReduceOnPlateau,
    SaveBest,
    TensorLoader,
    TrainingError,
    fit,
    seed_everything,
)
from learnkit.core.precision import Autocast
from learnkit.store.archive import read_archive
from learnkit.train.resume import Checkpoints, latest_checkpoint
from tests.train.helpers import assert_same, differs, snapshot

CRITIC_STEPS = 3


class GAN(nn.Module):
    """Learns where a Gaussian of the plane lies."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(), nn.Dropout(0.1), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.generator(torch.randn(len(x), 4))

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.critic(x), self.critic(self(x))

    def faked(self, x: Tensor) -> Tensor:
        return self.critic(self(x))


def critic_loss(pred: tuple[Tensor, Tensor], y: Any) -> Tensor:
    real, fake = pred
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(pred: Tensor, y: Any) -> Tensor:
    return F.softplus(-pred).mean()


def make_gan() -> GAN:
    torch.manual_seed(0)
    return GAN()


def points(n: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(1)) * 0.3 + torch.tensor([1.0, -0.5])


def batches(n: int = 53, bs: int = 8) -> list[tuple[Tensor, Tensor]]:
    """Seven batches, of which the last is short: turns do not end with an epoch."""
    return [(x, x) for x in points(n).split(bs)]


def optimizers(gan: GAN) -> tuple[optim.Optimizer, optim.Optimizer]:
    return optim.Adam(gan.critic.parameters(), 1e-2, betas=(0.5, 0.9)), optim.RMSprop(gan.generator.parameters(), 5e-3)


def players(gan: GAN, steps: int = CRITIC_STEPS, **kwargs: Any) -> list[Player]:
    of_critic, of_generator = optimizers(gan)
    return [
        Player("critic", of_critic, critic_loss, gan.both, steps=steps, **kwargs),
        Player("generator", of_generator, generator_loss, gan.faked),
    ]


def fit_gan(gan: GAN, n_epochs: int = 3, data: Any = None, **kwargs: Any) -> dict[str, float]:
    torch.manual_seed(2)
    kwargs = {"players": players(gan), "progress": False, **kwargs}
    return fit(gan, data or DataBunch(".", batches()), n_epochs, **kwargs)


def by_hand(gan: GAN, n_epochs: int, accumulate: int = 1) -> list[tuple[str, float, int]]:
    """What one writes without a library: `detach` and all. Returns whose loss each batch was, and its items."""
    of_critic, of_generator = optimizers(gan)
    trn, losses = batches(), []
    whose, left = "critic", CRITIC_STEPS * accumulate
    torch.manual_seed(2)
    for _ in range(n_epochs):
        gan.train()
        waiting = 0
        for i, (x, _y) in enumerate(trn):
            if left == 0:
                whose, left = ("generator", accumulate) if whose == "critic" else ("critic", CRITIC_STEPS * accumulate)
            opt = of_critic if whose == "critic" else of_generator
            if waiting == 0:
                opt.zero_grad()
                first, total = len(x), 0.0
            if whose == "critic":
                loss = critic_loss((gan.critic(x), gan.critic(gan(x).detach())), None)
            else:
                loss = generator_loss(gan.critic(gan(x)), None)
            losses.append((whose, loss.item(), len(x)))
            (loss * (len(x) / first)).backward()
            total += len(x) / first
            waiting, left = waiting + 1, left - 1
            if waiting == accumulate or i == len(trn) - 1:
                for p in gan.parameters():
                    if p.grad is not None:
                        p.grad /= total
                opt.step()
                waiting = 0
        left -= left % accumulate  # the last window of an epoch may be short
    return losses


def mean(losses: list[tuple[str, float, int]], whose: str) -> float:
    own = [(loss, n) for name, loss, n in losses if name == whose]
    return sum(loss * n for loss, n in own) / sum(n for _, n in own)


class Diary(Callback):
    """Writes down whose turn each training batch was."""

    def __init__(self) -> None:
        self.turns: list[str] = []

    def before_batch(self, run: Any) -> None:
        if run.training:
            self.turns.append(run.player.name)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_two_players_end_with_the_weights_of_the_loop_by_hand(accumulate: int) -> None:
    ours, theirs = make_gan(), make_gan()
    results = fit_gan(ours, accumulate=accumulate)
    losses = by_hand(theirs, 3, accumulate)
    assert_same(ours, theirs)
    last = losses[-len(batches()) :]
    assert results["critic_loss"] == pytest.approx(mean(last, "critic"))
    assert results["trn_loss"] == results["generator_loss"] == pytest.approx(mean(last, "generator"))


def test_a_gan_finds_where_the_points_lie() -> None:
    gan = make_gan()
    fit_gan(gan, 60, DataBunch(".", TensorLoader(points(256), points(256), 32, shuffle=True)))
    gan.eval()
    assert (gan(torch.zeros(500, 2)).mean(0) - points(256).mean(0)).norm() < 0.4


def test_turns_go_on_from_one_epoch_to_the_next() -> None:
    diary = Diary()
    fit_gan(make_gan(), 2, callbacks=[diary])
    turn = ["critic"] * CRITIC_STEPS + ["generator"]
    assert diary.turns == (turn * 4)[:14]


@pytest.mark.parametrize("steps", [2, 20])
def test_one_player_given_by_itself_is_the_default(steps: int) -> None:
    def train(**kwargs: Any) -> tuple[GAN, dict[str, float]]:
        torch.manual_seed(2)
        return gan, fit(gan, DataBunch(".", batches(), batches(20)), 2, progress=False, accumulate=2, **kwargs)

    gan = make_gan()
    plain = train(opt=optim.Adam(gan.generator.parameters()), crit=F.mse_loss)
    gan = make_gan()
    explicit = train(players=[Player("me", optim.Adam(gan.generator.parameters()), F.mse_loss, steps=steps)])
    assert_same(plain[0], explicit[0])
    assert plain[1] == explicit[1]


def test_whose_turn_it_is_not_gets_neither_gradient_nor_step() -> None:
    gan = make_gan()
    gan.critic[0].bias.requires_grad_(False)  # of the user's own will
    parts = {"critic": gan.critic, "generator": gan.generator}
    seen = []

    class Look(Callback):
        def before_batch(self, run: Any) -> None:
            self.before = snapshot(run.model)

        def after_backward(self, run: Any) -> None:
            for name, part in parts.items():
                gradients = [p.grad is not None for p in part.parameters()]
                assert any(gradients) == (name == run.player.name)
                assert any(p.requires_grad for p in part.parameters()) == (name == run.player.name)
            assert run.opt is run.player.opt
            assert run.crit is run.player.crit

        def after_step(self, run: Any) -> None:
            changed = {name.split(".")[0] for name in differs(self.before, snapshot(gan)) if "running" not in name}
            seen.append((run.player.name, changed - {"num_batches_tracked"}))

        def after_batch(self, run: Any) -> None:
            assert [n for n, p in gan.named_parameters() if not p.requires_grad] == ["critic.0.bias"]

    fit_gan(gan, callbacks=[Look()])
    # Batch norm counts the batches that pass through the generator, whoever learns from them.
    assert {name for name, _ in seen} == {"critic", "generator"}
    assert all(name in changed for name, changed in seen)
    assert not any("critic" in changed for name, changed in seen if name == "generator")
    assert [n for n, p in gan.named_parameters() if not p.requires_grad] == ["critic.0.bias"]
    assert all(p.grad is None for p in gan.parameters())


def test_what_rests_is_given_back_after_an_error() -> None:
    class Break(Callback):
        def after_loss(self, run: Any) -> None:
            raise KeyboardInterrupt

    gan = make_gan()
    with pytest.raises(KeyboardInterrupt):
        fit_gan(gan, callbacks=[Break()])
    assert all(p.requires_grad and p.grad is None for p in gan.parameters())


@pytest.mark.parametrize("event", ["before_batch", "after_loss", "before_step"])
@pytest.mark.parametrize("name", ["critic", "generator"])
def test_a_player_whose_batches_are_cancelled_stays_as_it_is_and_the_other_learns(event: str, name: str) -> None:
    def cancel(self: Callback, run: Any) -> None:
        if run.player.name == name:
            raise CancelBatch

    gan, diary = make_gan(), Diary()
    before = snapshot(gan)
    fit_gan(gan, callbacks=[diary, type("Skip", (Callback,), {event: cancel})()])
    learnt = {n.split(".")[0] for n, p in gan.named_parameters() if not torch.equal(p, before[n])}
    assert learnt == {"critic", "generator"} - {name}
    assert diary.turns == ((["critic"] * CRITIC_STEPS + ["generator"]) * 6)[:21]


def test_a_window_with_a_cancelled_batch_is_filled_before_the_turn_passes() -> None:
    class SkipSecond(Callback):
        def before_batch(self, run: Any) -> None:
            if run.batch == 1:
                raise CancelBatch

    gan, diary = make_gan(), Diary()
    own = players(gan, steps=1)
    steps: list[tuple[str, int]] = []
    watch = type("Watch", (Callback,), {"after_step": lambda self, run: steps.append((run.player.name, run.batch))})()
    fit_gan(gan, 1, players=own, accumulate=2, callbacks=[diary, SkipSecond(), watch])
    assert steps == [("critic", 2), ("generator", 4), ("critic", 6)]


def test_the_last_player_is_the_one_that_is_measured() -> None:
    gan = make_gan()
    seen: set[str] = set()

    class Look(Callback):
        def before_valid(self, run: Any) -> None:
            seen.add(run.player.name)

        def after_pred(self, run: Any) -> None:
            if not run.training:
                assert isinstance(run.pred, Tensor)  # the critic's would be two

    def share_taken_for_real(pred: Tensor, y: Tensor) -> Tensor:
        return (pred > 0).float().mean()

    names: list[str] = []
    keep = type("Keep", (Callback,), {"before_fit": lambda self, run: names.extend(run.figures)})()
    data = DataBunch(".", batches(), batches(20))
    results = fit_gan(gan, 2, data, metrics=[share_taken_for_real], callbacks=[Look(), keep])
    assert seen == {"generator"}
    assert list(results) == names
    assert names == ["trn_loss", "critic_loss", "generator_loss", "val_loss", "share_taken_for_real"]
    assert 0 <= results["share_taken_for_real"] <= 1


def test_callbacks_follow_the_loss_of_a_player_and_act_on_all(tmp_path: Path) -> None:
    gan = make_gan()
    own = players(gan)
    plateau = ReduceOnPlateau("critic_loss", factor=0.5, patience=1, min_delta=1e9)
    callbacks = [SaveBest(tmp_path / "best", "generator_loss"), CSVLog(tmp_path / "log.csv"), plateau]
    fit_gan(gan, 2, players=own, callbacks=callbacks)
    assert [player.opt.param_groups[0]["lr"] for player in own] == [5e-3, 2.5e-3]
    assert "critic_loss,generator_loss" in (tmp_path / "log.csv").read_text()


def test_a_schedule_moves_the_rates_of_its_own_player() -> None:
    gan = make_gan()
    lo = LayerOptimizer(optim.Adam, gan.generator, 1e-2)
    critic = players(gan)[0]
    seen: list[tuple[str, float]] = []

    class Look(Callback):
        def before_step(self, run: Any) -> None:
            seen.append((run.player.name, run.opt.param_groups[0]["lr"]))

    own = [critic, Player("generator", lo.opt, generator_loss, gan.faked)]
    fit_gan(gan, 2, players=own, callbacks=[CosAnneal(lo, 14), Look()])
    assert {rate for name, rate in seen if name == "critic"} == {1e-2}
    rates = [rate for name, rate in seen if name == "generator"]
    assert len(rates) == 3
    assert rates == sorted(set(rates), reverse=True)


def test_each_player_has_its_own_clip() -> None:
    gan = make_gan()
    norms: dict[str, float] = {}

    class Look(Callback):
        def before_step(self, run: Any) -> None:
            held = [p.grad for group in run.opt.param_groups for p in group["params"]]
            norms[run.player.name] = max(
                norms.get(run.player.name, 0), float(torch.stack([g.norm() for g in held]).norm())
            )

    fit_gan(gan, 1, players=players(gan, clip=1e-3), clip=1e-4, callbacks=[Look()])
    assert norms == {"critic": pytest.approx(1e-3, rel=1e-2), "generator": pytest.approx(1e-4, rel=1e-2)}


def test_each_player_has_its_own_scale_of_fp16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = Autocast(torch.device("cpu"), None)
    scaled.fp16 = True  # fp32 with scaled losses: the weights are the same
    monkeypatch.setattr("learnkit.train.loop.autocast_for", lambda *_: scaled)
    ours, theirs = make_gan(), make_gan()
    fit_gan(ours)
    by_hand(theirs, 3)
    assert_same(ours, theirs)

    def too_large(pred: Any, y: Any) -> Tensor:
        return critic_loss(pred, y) * 1e36

    gan = make_gan()
    generator = players(gan)[1]
    own = [Player("critic", optimizers(gan)[0], too_large, gan.both), generator]
    fit_gan(gan, 1, players=own, checkpoints=Checkpoints(tmp_path, every=1))
    file = latest_checkpoint(tmp_path)
    assert file is not None
    state = read_archive(file, "checkpoint").state
    assert state["scaler"]["scale"] < state["others"][0]["scaler"]["scale"] == 2.0**16


class Killed(BaseException):
    """Stands for the end of the process."""


def kill_at(step: int) -> Callback:
    left = iter(range(step, -1, -1))

    def after_step(self: Callback, run: Any) -> None:
        if next(left, None) == 0:
            raise Killed

    return type("Kill", (Callback,), {"after_step": after_step, "state_dict": lambda self: {}})()


@pytest.mark.parametrize("shuffled", ["ours", "pytorch"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kill", [2, 3, 4, 9])
def test_resumed_equals_uninterrupted(tmp_path: Path, kill: int, accumulate: int, shuffled: str) -> None:
    make: dict[str, Function[[], Any]] = {
        "ours": lambda: TensorLoader(points(53), points(53), 8, shuffle=True),
        "pytorch": lambda: DataLoader(TensorDataset(points(53), points(53)), 8, shuffle=True),
    }

    def train(gan: GAN, at: int, checkpoints: Checkpoints | None = None) -> tuple[dict[str, float], list[str], Any]:
        diary, own = Diary(), players(gan)
        data, callbacks = DataBunch(".", make[shuffled]()), [kill_at(at), diary]
        results = fit(
            gan, data, 4, None, None, None, callbacks,
            players=own, progress=False, accumulate=accumulate, checkpoints=checkpoints,
        )  # fmt: skip
        return results, diary.turns, [player.opt.state_dict() for player in own]

    seed_everything(3)
    whole = make_gan()
    results, turns, states = train(whole, 1000)
    seed_everything(3)
    with pytest.raises(Killed):
        train(make_gan(), kill, Checkpoints(tmp_path, every=1))
    seed_everything(77)
    resumed = make_gan()
    checkpoints = Checkpoints.resume(tmp_path)
    checkpoints.load_model(resumed)
    again, turns_again, states_again = train(resumed, 1000, checkpoints)
    assert_same(whole, resumed)
    assert (again, turns_again) == (results, turns)
    for mine, theirs in zip(states, states_again, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    assert all(p.requires_grad for p in resumed.parameters())


def test_a_checkpoint_of_other_players_is_refused(tmp_path: Path) -> None:
    gan = make_gan()
    with pytest.raises(Killed):
        fit_gan(gan, callbacks=[kill_at(5)], checkpoints=Checkpoints(tmp_path, every=1))
    with pytest.raises(
        CheckpointError, match="optimizer: Adam of critic, 3 a turn, RMSprop of generator, 1 a turn then"
    ):
        fit_gan(gan, players=players(gan, 2), callbacks=[kill_at(99)], checkpoints=Checkpoints.resume(tmp_path))


def test_the_checkpoint_of_one_player_has_nothing_of_several(tmp_path: Path) -> None:
    gan = make_gan()
    fit(gan, DataBunch(".", batches()), 1, optim.Adam(gan.generator.parameters()), F.mse_loss, progress=False,
        checkpoints=Checkpoints(tmp_path, every=1))  # fmt: skip
    file = latest_checkpoint(tmp_path)
    assert file is not None
    state = read_archive(file, "checkpoint").state
    assert not {"others", "turn"} & set(state)
    assert set(state["run"]["running_loss"]) == {"losses", "sizes", "epoch_start", "average"}
    assert set(state["optimizer"]) == {"state", "param_groups"}
    assert state["setting"]["optimizer"] == "Adam"


def test_what_cannot_be_is_said_in_words() -> None:
    gan = make_gan()
    critic, generator = players(gan)
    opt = optim.Adam(gan.critic.parameters())
    no_optimizer: Any = nn.Linear(1, 1)
    for given, error, words in (
        ([], TypeError, "must hold one `Player` or more"),
        (critic, TypeError, "`players` must be a list of players"),
        ([critic, opt], TypeError, "must hold one `Player` or more"),
        ([critic, Player("critic", generator.opt, generator_loss)], ValueError, "must differ in their names"),
        (
            [critic, Player("b", opt, generator_loss)],
            TrainingError,
            "'critic' and 'b' share parameters: critic.0.weight",
        ),
        (
            [critic, Player("b", optim.SGD(nn.Linear(2, 2).parameters()), generator_loss)],
            TrainingError,
            "player 'b': the optimizer holds 2",
        ),
        (
            [critic, Player("b", no_optimizer, generator_loss)],
            TypeError,
            "player 'b': `opt` must be a torch optimizer",
        ),
    ):
        with pytest.raises(error, match=words):
            fit_gan(gan, players=given)
    with pytest.raises(TypeError, match="has its own `opt` and `crit`"):
        fit_gan(gan, opt=opt)
    with pytest.raises(TypeError, match="an optimizer and a loss"):
        fit_gan(gan, players=None)
    with pytest.raises(TypeError, match="one loss; with several players"):
        fit_gan(gan, callbacks=[MixUp(0.4)])
    for wrong, kind in (
        ({"name": "my critic"}, ValueError),
        ({"crit": nn.MSELoss}, TypeError),
        ({"steps": 0}, ValueError),
    ):
        with pytest.raises(kind):
            Player(**{"name": "critic", "opt": opt, "crit": critic_loss, **wrong})  # type: ignore[arg-type]


def test_a_loss_that_the_players_parameters_have_no_part_in_is_refused() -> None:
    gan = make_gan()
    critic, generator = players(gan)
    wrong = Player("critic", critic.opt, generator_loss, gan)  # the generator's output: not the critic's business
    with pytest.raises(TrainingError, match="no gradient"):
        fit_gan(gan, players=[wrong, generator])


def test_an_optimizer_that_evaluates_the_loss_itself_may_be_a_players() -> None:
    gan = make_gan()
    critic = players(gan)[0]
    lbfgs = Player("generator", optim.LBFGS(gan.generator.parameters(), lr=0.1, max_iter=2), generator_loss, gan.faked)
    before = snapshot(gan)
    fit_gan(gan, 1, players=[critic, lbfgs])
    assert any(name.startswith("generator") for name in differs(before, snapshot(gan)))
    with pytest.raises(TrainingError, match="LBFGS evaluates"):
        fit_gan(gan, 1, players=[critic, lbfgs], accumulate=2)
