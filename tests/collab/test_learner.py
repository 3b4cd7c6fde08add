import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn, optim

from learnkit import CheckpointError, DataError, load_learner, seed_everything
from learnkit.collab import CollabFilterDataset, EmbeddingDot, EmbeddingDotBias, EmbeddingNet

from .conftest import make_ratings


def frame_of(*rows):
    return pd.DataFrame(rows, columns=["user", "item", "rating"])


def learner_of(frame, path=".", **options):
    return CollabFilterDataset.from_data_frame(path, frame, "user", "item", "rating").get_learner(4, **options)


# ---------------------------------------------------------------- training


def test_it_learns_the_structure_in_the_ratings(learn, ratings):
    assert learn.sched.epochs[-1]["rmse"] < 0.85 * ratings.rating.std()


@pytest.mark.parametrize("model", [EmbeddingDot, EmbeddingDotBias, EmbeddingNet])
def test_every_model_overfits_a_handful_of_ratings(model):
    frame = frame_of(*[(u, i, 1 + (3 * u + 2 * i + u * i) % 5) for u in range(6) for i in range(5)])
    make = (
        model if model is not EmbeddingNet else (lambda *args, **kw: EmbeddingNet(*args, nh=[32], drops=(0, 0), **kw))
    )
    learn = learner_of(frame, model=make, val_idxs=[], bs=8)
    with learn.no_progress():
        results = learn.fit(0.05, 60, wds=0)
    assert results["trn_loss"] < 0.15


def test_the_courses_call(cf):
    learn = cf.get_learner(8, [0, 1, 2], 64, opt_fn=optim.Adam)
    with learn.no_progress():
        learn.fit(2e-2, 2, wds=2e-4, cycle_len=1, cycle_mult=2)
    assert len(learn.sched.epochs) == 3


def test_decay_by_adamws_kernel_is_the_same_as_ours(cf):
    weights = []
    for opt_fn in (None, lambda params, lr: optim.Adam(params, lr=lr, betas=(0.9, 0.98))):
        seed_everything(0)
        learn = cf.get_learner(8, opt_fn=opt_fn)
        with learn.no_progress():
            learn.fit_one_cycle(2, 0.02)
        weights.append(learn.model.user_factors.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-5)


def test_factors_and_biases_decay_by_different_amounts(cf):
    learn = cf.get_learner(8)
    groups = learn._optimizer(1e-2, None).opt.param_groups
    assert [group["weight_decay"] for group in groups] == [0.4, 0.01]
    assert [group["weight_decay"] for group in learn._optimizer(1e-2, 0.3).opt.param_groups] == [0.3]
    assert cf.get_learner(8, wds=0.1)._optimizer(1e-2, None).wds == [0.1]


def test_sparse_gradients_learn_too(cf):
    learn = cf.get_learner(8, sparse=True, bs=32)
    with learn.no_progress():
        first = learn.validate()["val_loss"]
        assert learn.fit_one_cycle(5, 0.03, wds=0.01)["val_loss"] < 0.8 * first
    assert learn.model.user_factors.weight.grad is None
    with pytest.raises(ValueError, match="has layers that are no tables"):
        cf.get_learner(8, model=EmbeddingNet, sparse=True)


def test_implicit_feedback_beats_popularity(tmp_path):
    rng = np.random.default_rng(0)
    taste = rng.integers(0, 4, 80)  # each user takes items of one kind
    rows = [(f"u{u}", f"i{4 * k + taste[u]}", 1) for u in range(80) for k in range(15) if rng.random() < 0.6]
    cf = CollabFilterDataset.from_data_frame(tmp_path, frame_of(*rows), "user", "item", None)
    learn = cf.get_learner(8, bs=64)
    with learn.no_progress():
        results = learn.fit_one_cycle(15, 0.03)
    assert list(results) == ["trn_loss", "val_loss", "recall@10", "ndcg@10"]
    assert results["recall@10"] > 0.9
    assert results["recall@10"] == learn.ranking_metrics()["recall"]


def test_lr_find_leaves_everything_as_it_was(cf):
    learn = cf.get_learner(8)
    before = learn.model.user_factors.weight.clone()
    assert 1e-5 < learn.lr_find().valley < 10
    assert torch.equal(before, learn.model.user_factors.weight)


# ---------------------------------------------------------------- answers


def test_recommend_gives_unseen_items_best_first(learn, ratings, titles):
    best = learn.recommend("u3", n=5)
    assert list(best.columns) == ["item", "title", "score"]
    assert best.score.is_monotonic_decreasing
    trained = ratings.drop(np.random.default_rng(42).permutation(len(ratings))[: len(ratings) // 5])
    seen = set(trained.item[trained.user == "u3"])
    assert not seen & set(best.item)
    assert best.title.tolist() == [titles[item] for item in best.item]
    assert best.score.tolist() == pytest.approx(learn.predict(["u3"] * 5, best.item).tolist(), abs=1e-5)
    others = set(ratings.item) - seen
    assert best.score[0] == pytest.approx(max(learn.predict("u3", item) for item in others), abs=1e-5)


def test_recommend_can_repeat_and_be_limited(learn, ratings):
    assert len(learn.recommend("u3", n=100, exclude_seen=False)) == ratings.item.nunique()
    assert set(learn.recommend("u3", n=5, exclude_seen=False, among=["i1", "i2"]).item) == {"i1", "i2"}


def test_recommend_many_is_recommend_for_each(learn):
    many = learn.recommend_many(n=3)
    assert many["rank"].tolist()[:4] == [1, 2, 3, 1]
    for user in ("u0", "u17"):
        one = many[many.user == user]
        assert one.item.tolist() == learn.recommend(user, n=3).item.tolist()


def test_similar_items_leave_out_the_item_itself(learn):
    alike = learn.similar_items("i4", n=6)
    assert "i4" not in set(alike.item)
    assert alike.similarity.is_monotonic_decreasing
    assert alike.similarity.between(-1.001, 1.001).all()
    assert len(learn.similar_items("i4", n=6, min_ratings=10**6)) == 0


def test_item_bias_follows_the_mean_rating(learn, ratings):
    bias = learn.item_bias()
    assert bias.bias.is_monotonic_decreasing
    means = ratings.groupby("item").rating.mean()
    assert np.corrcoef(bias.bias, means[bias.item])[0, 1] > 0.9
    assert learn.item_bias(names={bias.item[0]: "Best"}).title[0] == "Best"


def test_principal_components_are_uncorrelated_and_ordered(learn):
    frame = learn.item_factors(pca=3)
    values = frame[["0", "1", "2"]].to_numpy()
    covariance = np.cov(values.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-5
    assert (np.diff(np.diag(covariance)) <= 0).all()
    assert frame.attrs["explained"] == sorted(frame.attrs["explained"], reverse=True)
    assert learn.item_factors().shape[1] == 3 + 8
    with pytest.raises(ValueError, match="`pca` must be at most 8"):
        learn.item_factors(pca=9)


def test_factor_plot_has_the_titles(learn):
    ax = learn.plot_item_factors(12, components=(1, 2))
    assert len(ax.texts) == 12
    assert ax.get_ylabel() == "component 2"
    chosen = learn.plot_item_factors(items=["i1", "i2"], names={"i1": "One"})
    assert "One" in {text.get_text() for text in chosen.texts}
    assert len(chosen.texts) == 2


def test_model_without_bias_says_so(cf):
    with pytest.raises(DataError, match="EmbeddingDot has no table `item_bias`"):
        cf.get_learner(8, model=EmbeddingDot).item_bias()


def test_predict_takes_ids_or_the_validation_set(learn):
    assert isinstance(learn.predict("u1", "i1"), float)
    assert learn.predict(["u1", "u2"], np.array(["i1", "i2"])).shape == (2,)
    assert learn.predict([], []).shape == (0,)
    assert learn.predict().shape == learn.data.val_y.shape
    with pytest.raises(ValueError, match="two lists of one length"):
        learn.predict(["u1", "u2"], ["i1"])
    with pytest.raises(TypeError, match="takes a user and an item"):
        learn.predict("u1")


# ---------------------------------------------------------------- cold start, bad input


def test_unknown_user_and_item_get_the_mean_embedding_and_a_warning(learn):
    with pytest.warns(UserWarning, match=r"1 unknown user\(s\), 'nobody': the mean embedding is used"):
        frame = learn.recommend("nobody", n=3)
    factors, bias = learn.model.user_factors.weight[1:].mean(0), learn.model.user_bias.weight[1:].mean()
    code = learn.data.items.encode_one(frame.item[0])
    raw = learn.model.item_factors.weight[code] @ factors + bias + learn.model.item_bias.weight[code, 0]
    assert frame.score[0] == pytest.approx(float(learn.model.to_range(raw).detach()), abs=1e-4)
    with pytest.warns(UserWarning, match="unknown item"):
        assert 1 <= learn.predict("u1", "new film") <= 5
    with pytest.raises(DataError, match="unknown item 'new film'; the ids are like"):
        learn.similar_items("new film")


def test_id_of_the_wrong_type_gets_a_hint():
    learn = learner_of(frame_of((1, 10, 5), (2, 10, 3)), val_idxs=[])
    with pytest.warns(UserWarning, match="The known ids are like 1, of type int"):
        learn.predict("1", 10)


def test_user_with_no_training_rating_is_treated_as_an_average_one():
    frame = frame_of(*[(u, i, 1 + (u + i) % 5) for u in range(8) for i in range(6)], ("quiet", 0, 5))
    learn = learner_of(frame, val_idxs=[len(frame) - 1], bs=8)
    with learn.no_progress():
        learn.fit(0.05, 3)
    code = learn.data.users.encode_one("quiet")
    assert torch.equal(learn.model.user_factors.weight[code], learn.model.user_factors.weight[0])
    for item in (0, 3):  # the value that the warning names
        with pytest.warns(UserWarning, match="unknown user.*the mean embedding is used"):
            average = learn.predict("nobody", item)
        with pytest.warns(
            UserWarning, match="1 user.*without a rating in the training set, 'quiet': the mean embedding"
        ):
            assert learn.predict("quiet", item) == average
    with pytest.warns(UserWarning, match="without a rating in the training set"):
        assert len(learn.recommend("quiet")) == 6
    with pytest.warns(UserWarning, match="without a rating in the training set"):
        assert set(learn.recommend_many(n=1).user) == {"quiet"}  # the others have seen everything
    assert learn.data.check()[-1].startswith("`val_dl`: 1 of 1 rows have a user without a training rating")


def test_one_item():
    learn = learner_of(frame_of((1, "only", 4), (2, "only", 2)), val_idxs=[])
    with learn.no_progress():
        learn.fit(0.01, 2)
    assert len(learn.recommend(1)) == 0
    assert learn.recommend(1, exclude_seen=False).item.tolist() == ["only"]
    assert len(learn.similar_items("only")) == 0
    with pytest.raises(ValueError, match="`pca` must be at most 1 for 1 items"):
        learn.item_factors(pca=2)


def test_one_rating():
    learn = learner_of(frame_of((1, "only", 4)))
    with learn.no_progress():
        learn.fit(0.01, 1)
    assert learn.predict(1, "only") == 4.0


def test_all_ratings_equal():
    learn = learner_of(frame_of((1, "a", 4), (2, "b", 4), (1, "b", 4)), val_idxs=[])
    with learn.no_progress():
        assert learn.fit(0.01, 1)["trn_loss"] == 0
    assert learn.predict(1, "a") == 4.0


# ---------------------------------------------------------------- saving


def test_a_fresh_process_recommends_the_same(learn, tmp_path):
    file = learn.export(tmp_path / "films")
    out = tmp_path / "out.csv"
    code = (
        "import sys; from learnkit import load_learner; "
        "load_learner(sys.argv[1]).recommend('u3', n=7).to_csv(sys.argv[2], index=False)"
    )
    subprocess.run([sys.executable, "-c", code, str(file), str(out)], check=True, timeout=600)
    pd.testing.assert_frame_equal(pd.read_csv(out), learn.recommend("u3", n=7), check_dtype=False)


def test_everything_else_survives_exporting(learn, tmp_path):
    again = load_learner(learn.export(tmp_path / "films"))
    pd.testing.assert_frame_equal(again.item_bias(), learn.item_bias())
    pd.testing.assert_frame_equal(again.similar_items("i1"), learn.similar_items("i1"))
    assert again.data.titles == learn.data.titles
    assert again.predict("u1", "i1") == learn.predict("u1", "i1")
    with pytest.raises(DataError, match="empty"), again.no_progress():
        again.fit(0.01, 1)


def test_load_into_the_same_learner(learn):
    learn.save("films")
    before = learn.predict()
    with learn.no_progress():
        learn.fit(0.1, 1)
    learn.load("films")
    assert np.array_equal(learn.predict(), before)


def test_weights_of_other_ids_are_refused(learn, tmp_path):
    learn.save("films")
    other = make_ratings().sample(frac=1, random_state=5)
    stranger = CollabFilterDataset.from_data_frame(tmp_path, other, "user", "item", "rating").get_learner(8)
    with pytest.raises(CheckpointError, match="users and items differ"):
        stranger.load("films")


def test_best_epoch_can_be_loaded(cf):
    learn = cf.get_learner(8)
    with learn.no_progress():
        learn.fit(0.02, 2, best_save_name="best")
    learn.load("best")
    assert load_learner(learn.export(cf.path / "best")).data.items.size == cf.n_items


class Mine(nn.Module):
    """A user's own model."""

    def __init__(self, n_users: int, n_items: int) -> None:
        super().__init__()
        self.u, self.m = nn.Embedding(n_users, 3), nn.Embedding(n_items, 3)

    def forward(self, users, items):
        return (self.u(users) * self.m(items)).sum(1)


def test_a_model_of_ones_own_trains_recommends_and_is_loaded_with_its_data(cf):
    learn = cf.get_learner(model=Mine(cf.n_users, cf.n_items))
    with learn.no_progress():
        learn.fit(0.05, 2)
    best = learn.recommend("u1", n=2)
    assert best.score[0] == pytest.approx(learn.predict("u1", best.item[0]), abs=1e-5)
    file = learn.save("mine")
    learn.load("mine")
    exported = learn.export(file.with_name("mine"))
    with pytest.raises(CheckpointError, match="Mine, which is not one of learnkit's models"):
        load_learner(exported)
    again = load_learner(exported, model=Mine(cf.n_users, cf.n_items))
    assert again.recommend("u1", n=2).equals(best)


# ---------------------------------------------------------------- what people pass


def test_one_id_where_many_are_expected_and_the_reverse(learn):
    with pytest.raises(TypeError, match="`recommend` takes one user; for 1 of them call `recommend_many`"):
        learn.recommend(["u1"])
    with pytest.raises(TypeError, match="for 2 of them"):
        learn.recommend(np.array(["u1", "u2"]))
    one = learn.recommend_many("u1", n=3)
    assert one.user.tolist() == ["u1"] * 3
    assert one.item.tolist() == learn.recommend("u1", n=3).item.tolist()
    assert learn.recommend_many(np.array(["u1"]), n=3).item.tolist() == one.item.tolist()
    assert learn.recommend("u1", among="i1", exclude_seen=False).item.tolist() == ["i1"]
    assert len(learn.plot_item_factors(items="i1").texts) == 1
    with pytest.raises(TypeError, match=r"expected a list of ids; got 5. For one write \[5\]"):
        learn.recommend_many(5)
    with pytest.raises(DataError, match="there are no users to recommend to"):
        learn.recommend_many([])
    with pytest.raises(DataError, match="item ids must be hashable; got"):
        learn.similar_items(["i1"])
    with pytest.warns(UserWarning, match="1 unknown item.*'zebra', are left out of the choice"):
        assert learn.recommend("u1", among=["i1", "zebra"], exclude_seen=False).item.tolist() == ["i1"]


def test_an_item_that_is_only_held_out_is_like_nothing():
    frame = frame_of(*[(u, i, 1 + (u + i) % 5) for u in range(8) for i in range(6)], (0, "rare", 5))
    learn = learner_of(frame, val_idxs=[len(frame) - 1], bs=8)
    with pytest.raises(DataError, match="item 'rare' has no rating in the training set"):
        learn.similar_items("rare")
    assert "rare" not in set(learn.item_bias().item)


def test_levels_that_are_declared_but_have_no_row_are_unknown():
    users = pd.Categorical(["a", "b", "a"], categories=["z", "a", "b", "never"])
    frame = pd.DataFrame({"user": users, "item": [1, 1, 2], "rating": [1.0, 5.0, 3.0]})
    learn = learner_of(frame, val_idxs=[])
    assert learn.data.users.decode([1, 2]) == ["a", "b"]
    assert len(learn.data.users) == 2
    with pytest.warns(UserWarning, match="1 unknown user.*'never': the mean embedding is used"):
        learn.predict("never", 1)


def test_the_warning_says_what_a_model_of_ones_own_does():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.i = nn.Embedding(9, 2), nn.Embedding(9, 2)

        def forward(self, users, items):
            return (self.u(users) * self.i(items)).sum(1)

    learn = learner_of(frame_of((1, 1, 2), (2, 1, 3), (3, 2, 4)), val_idxs=[2], model=Own())
    with pytest.warns(UserWarning, match="Own scores code 0, which no rating has trained"):
        found = learn.predict(9, 1)
    with pytest.warns(UserWarning, match="3: Own scores code 0, which no rating has trained"):
        assert learn.predict(3, 1) == found


def test_the_lesson_looks_up_biases_by_item(learn, cf):
    rows = torch.tensor([cf.item2idx[item] for item in ("i3", "i1")])
    bias = learn.model.ib(rows).detach()[:, 0].numpy()
    frame = learn.item_bias().set_index("item").bias
    np.testing.assert_allclose(bias, frame[["i3", "i1"]].to_numpy(), rtol=1e-5, atol=1e-6)
    assert learn.model.u(torch.tensor([cf.user2idx["u1"]])).shape == (1, 8)
    codes = cf.items.encode(["i3", "i1"])
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(learn.model.ib(torch.from_numpy(codes)).detach()[:, 0].numpy(), bias)


def test_other_ratings_of_the_same_users_and_items(cf, ratings):
    learn = cf.get_learner(4, val_idxs=[0], bs=32)
    quiet = np.flatnonzero(ratings.user == "u5")
    data = cf.get_data(quiet, bs=32)
    learn.set_data(data)
    with learn.no_progress():
        learn.fit(0.02, 1)
    weights = learn.model.user_factors.weight
    assert torch.equal(weights[cf.user2idx["u5"]], weights[0])
    other = CollabFilterDataset.from_data_frame(cf.path, ratings[::-1], "user", "item", "rating")
    with pytest.raises(DataError, match="other users or items than the model, or another order"):
        learn.set_data(other.get_data())


def test_ids_are_dates_tensors_or_ranges(tmp_path):
    days = pd.to_datetime(["2020-01-01", "2020-01-02"] * 4)
    for users in (days, days.tz_localize("Asia/Tokyo")):
        frame = pd.DataFrame({"u": users, "i": [0, 0, 1, 1, 2, 2, 3, 3], "r": [1.0, 5, 2, 4, 3, 3, 4, 2]})
        learn = CollabFilterDataset.from_data_frame(tmp_path, frame, "u", "i", "r").get_learner(2, val_idxs=[])
        assert learn.predict(users[0], 1) == pytest.approx(float(learn.predict([users[0]], [1])[0]))
        assert len(learn.recommend(users[0], 2, exclude_seen=False)) == 2
    frame["u"] = [0, 1] * 4
    learn = CollabFilterDataset.from_data_frame(tmp_path, frame, "u", "i", "r").get_learner(2, val_idxs=[])
    wanted = learn.predict([0, 1], [2, 3])
    assert np.array_equal(learn.predict(torch.tensor([0, 1]), torch.tensor([2, 3])), wanted)
    assert np.array_equal(learn.predict(range(2), range(2, 4)), wanted)
    assert learn.predict(torch.tensor(0), np.array(2)) == pytest.approx(float(wanted[0]))
    assert len(learn.recommend_many(torch.tensor([0, 1]), 1, exclude_seen=False)) == 2
    with pytest.raises(TypeError, match="sets, which have no order"):
        learn.predict({0, 1}, {2, 3})
