"""The course's recipe on small real data: precompute, TTA, interpretation, activation maps, report."""

import numpy as np
import pytest
import torch
from torch import nn

import learnkit
from learnkit import DataError
from learnkit.datasets import digits_arrays
from learnkit.vision import (
    ConvLearner,
    ImageClassifierData,
    tfms_from_stats,
    transforms_basic,
)

STATS = ([0.5] * 3, [0.5] * 3)


def small_body() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
    )


def make_data(path, sz=16, aug=None, **options) -> ImageClassifierData:
    pictures, labels = digits_arrays()
    few = np.flatnonzero(labels < 3)[:150]
    trn, val = few[:110], few[110:]
    return ImageClassifierData.from_arrays(
        path,
        trn=(pictures[trn], labels[trn]),
        val=(pictures[val], labels[val]),
        bs=32,
        tfms=tfms_from_stats(STATS, sz, aug),
        test=pictures[val],
        **options,
    )


@pytest.fixture
def learn(tmp_path) -> ConvLearner:
    learnkit.seed_everything(0)
    learner = ConvLearner.pretrained(
        small_body(), make_data(tmp_path, aug=transforms_basic), xtra_fc=[16], device="cpu"
    )
    learner.no_progress()
    return learner


class TestPrecompute:
    def test_head_sees_what_it_would_see_without(self, learn):
        plain = learn.predict(), learn.predict(is_test=True), learn.validate()
        learn.precompute = True
        np.testing.assert_allclose(learn.predict(), plain[0], atol=1e-5)
        np.testing.assert_allclose(learn.predict(is_test=True), plain[1], atol=1e-5)
        assert learn.validate()["val_loss"] == pytest.approx(plain[2]["val_loss"], abs=1e-5)

    @pytest.mark.parametrize("saved_with", [True, False])
    def test_what_is_saved_with_it_on_loads_with_it_off_and_the_reverse(self, learn, saved_with):
        learn.precompute = saved_with
        learn.fit(1e-2, 1)
        preds = learn.predict()
        learn.save("first")
        other = ConvLearner.pretrained(small_body(), learn.data, xtra_fc=[16], device="cpu")
        other.precompute = not saved_with
        other.load("first")
        np.testing.assert_allclose(other.predict(), preds, atol=1e-5)

    def test_best_weights_saved_meanwhile_are_the_whole_model(self, learn):
        learn.precompute = True
        learn.fit(1e-2, 2, best_save_name="best")
        learn.precompute = False
        learn.load("best")

    def test_pictures_are_read_once(self, learn, monkeypatch):
        learn.precompute = True
        learn.fit(1e-2, 1)
        monkeypatch.setattr(learn.data.trn_ds, "open_item", lambda item: pytest.fail("a picture was opened"))
        learn.fit(1e-2, 1)

    def test_only_the_head_changes(self, learn):
        learn.precompute = True
        before = {name: value.clone() for name, value in learn.model.state_dict().items()}
        learn.fit(1e-2, 1)
        changed = {name for name, value in learn.model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed
        assert all(name.startswith("1.") for name in changed)

    def test_other_weights_or_transforms_never_use_old_activations(self, learn, tmp_path):
        learn.precompute = True
        learn.fit(1e-2, 1)
        with torch.no_grad():
            learn.model[0][0].weight.mul_(2)
        with_it = learn.predict()
        learn.precompute = False
        np.testing.assert_allclose(with_it, learn.predict(), atol=1e-5)
        learn.set_data(make_data(tmp_path, sz=24))
        plain = learn.predict()
        learn.precompute = True
        np.testing.assert_allclose(learn.predict(), plain, atol=1e-5)

    def test_a_damaged_cache_is_made_again(self, learn, tmp_path):
        learn.precompute = True
        preds = learn.predict()
        for file in (tmp_path / "tmp" / "activations").iterdir():
            file.write_bytes(file.read_bytes()[:100])
        np.testing.assert_allclose(learn.predict(), preds, atol=1e-6)

    def test_unfreezing_and_tta_turn_it_off(self, learn):
        learn.precompute = True
        learn.unfreeze()
        assert not learn.precompute
        learn.precompute = True  # freezes the body again
        assert not any(p.requires_grad for p in learn.model[0].parameters())
        learn.TTA(n_aug=1)
        assert not learn.precompute

    def test_says_once_that_augmentation_does_nothing(self, learn, capsys, monkeypatch):
        monkeypatch.setenv("LEARNKIT_PROGRESS", "1")
        learn.precompute = True
        learn.fit(1e-2, 1)
        learn.fit(1e-2, 1)
        assert capsys.readouterr().out.count("augmentation does nothing") == 1

    def test_lr_find_works_with_it(self, learn):
        learn.precompute = True
        assert learn.lr_find(n_iter=20).valley > 0

    def test_a_model_without_body_is_refused(self, tmp_path):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
        learner = ConvLearner.from_model_data(model, make_data(tmp_path), device="cpu")
        with pytest.raises(DataError, match="ConvLearner.pretrained"):
            learner.precompute = True


class TestTTA:
    def test_first_is_the_plain_prediction_and_the_others_differ(self, learn):
        log_preds, y = learn.TTA(n_aug=2)
        assert log_preds.shape == (3, 40, 3)
        np.testing.assert_array_equal(y, learn.data.val_y)
        np.testing.assert_allclose(log_preds[0], learn.predict(), atol=1e-6)
        assert not np.allclose(log_preds[1], log_preds[0])
        assert not np.allclose(log_preds[1], log_preds[2])

    def test_test_set(self, learn):
        assert learn.TTA(n_aug=1, is_test=True)[0].shape == (2, 40, 3)

    def test_leaves_later_training_alone(self, learn, tmp_path):
        def train() -> torch.Tensor:
            learnkit.seed_everything(3)
            learn.load("start")
            if looks_first:
                learn.TTA(n_aug=1)
                learn.interpret()
                learn.cam([0, 1])
            learn.fit(1e-2, 1)
            return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

        learn.save("start")
        looks_first = False
        expected = train()
        looks_first = True
        assert torch.equal(train(), expected)


class TestInterpret:
    def test_agrees_with_the_predictions(self, learn):
        learn.fit(1e-2, 3)
        said = learn.interpret()
        guesses = learn.predict().argmax(1)
        assert said.confusion_matrix().trace() == (guesses == learn.data.val_y).sum()
        assert said.confusion_matrix().sum() == len(guesses)
        losses = -learn.predict()[np.arange(40), learn.data.val_y]
        np.testing.assert_allclose(said.top_losses(5)[0], np.sort(losses)[::-1][:5], atol=1e-5)
        assert all(guesses[i] == learn.data.val_y[i] for i in said.most_correct())
        assert all(guesses[i] != learn.data.val_y[i] for i in said.most_incorrect())

    def test_draws_pictures_with_titles(self, learn):
        fig = learn.interpret().plot_most_uncertain(4)
        assert [" is " in ax.get_title() for ax in fig.axes] == [True] * 4


class TestCam:
    def test_marks_where_the_class_is(self):
        # One channel fires on bright pixels, and its mean is the score of class 1: the map must be the bright square.
        conv = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            conv.weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3])[..., None, None])
        model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        x = torch.zeros(2, 3, 16, 16)
        x[0, :, 2:6, 2:6] = 1
        x[1, :, 10:14, 10:14] = 1
        from learnkit.vision.cam import class_activation_map

        maps, targets, method = class_activation_map(model, x, target=1)
        assert (targets, method) == ([1, 1], "cam")
        np.testing.assert_allclose(maps, x[:, 0].numpy(), atol=1e-6)
        grad_maps, _, method = class_activation_map(model, x, target=1, layer=conv)
        assert method == "grad-cam"
        np.testing.assert_allclose(grad_maps, maps, atol=1e-6)

    @pytest.mark.parametrize("what", [0, [0, 3, 5], "picture"])
    def test_items_and_pictures_frozen_or_not(self, learn, what):
        x = learn.data.val_ds[0][0] if what == "picture" else what
        frozen = learn.cam(x)
        learn.unfreeze()
        np.testing.assert_allclose(learn.cam(x).maps, frozen.maps, atol=1e-5)
        n = len(what) if isinstance(what, list) else 1
        assert frozen.maps.shape == (n, 16, 16)
        assert len(frozen.plot().axes) == n

    def test_leaves_gradients_and_modes_alone(self, learn):
        before = [(p.requires_grad, p.grad) for p in learn.model.parameters()]
        learn.cam(0)
        assert [(p.requires_grad, p.grad) for p in learn.model.parameters()] == before

    def test_unknown_class_and_layer_without_maps(self, learn):
        with pytest.raises(DataError, match="no class 'zebra'"):
            learn.cam(0, "zebra")
        with pytest.raises(DataError, match="feature maps"):
            learn.cam(0, layer=learn.model[1])


def test_report_is_one_page_that_needs_no_other_file(learn, tmp_path):
    learn.lr_find(n_iter=20)
    learn.fit(1e-2, 2)
    page = learn.report(tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 6
    assert 'src="http' not in page
    assert "learning rate" not in page or "Settings" in page


def test_bigger_pictures_go_on_with_the_same_weights(learn, tmp_path):
    learn.fit(1e-2, 1)
    learn.set_data(make_data(tmp_path, sz=32))
    assert learn.data.sz == 32
    assert learn.predict().shape == (40, 3)
    pictures, labels = digits_arrays()
    two = labels < 2
    with pytest.raises(DataError, match="the new data predicts"):
        learn.set_data(
            ImageClassifierData.from_arrays(tmp_path, (pictures[two], labels[two]), (pictures[two], labels[two]))
        )
