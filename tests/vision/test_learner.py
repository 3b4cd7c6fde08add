"""`ConvLearner`: what is frozen, what it learns, and that predictions belong to their pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from learnkit import seed_everything
from learnkit.core.errors import DataError
from learnkit.core.layers import batch_norms
from learnkit.datasets import efficientnet_lite0_weights
from learnkit.vision import (
    ConvLearner,
    ImageClassifierData,
    RandomFlip,
    SaveFeatures,
    imagenet_stats,
    open_image,
    tfms_from_model,
    tfms_from_stats,
    transforms_basic,
)

LITE0 = "timm/tf_efficientnet_lite0"


def small_body() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
    )


def small_net(c: int = 10) -> nn.Sequential:
    return nn.Sequential(*small_body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, c))


def fake_data(n: int = 8, c: int = 2, bs: int = 4, sz: int = 16) -> ImageClassifierData:
    pictures = np.random.default_rng(0).integers(0, 256, (n, sz, sz, 3), dtype=np.uint8)
    y = np.arange(n) % c
    tfms = tfms_from_stats(imagenet_stats, sz, [RandomFlip()])
    return ImageClassifierData.from_arrays(".", (pictures, y), (pictures, y), bs=bs, tfms=tfms)


def trainable(learn: ConvLearner) -> list[bool]:
    return [p.requires_grad for p in learn.model.parameters()]


def weights_of(learn: ConvLearner, *numbers: int) -> list[torch.Tensor]:
    """Copy parameters and statistics of some layer groups."""
    groups = learn.get_layer_groups()
    return [x.detach().clone() for i in numbers for m in groups[i] for x in m.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_efficientnet_lite0_learns_real_digits(digits: Path) -> None:
    seed_everything(0)
    data = ImageClassifierData.from_paths(digits, bs=32, tfms=tfms_from_model(LITE0, 96))
    file = efficientnet_lite0_weights()
    learn = ConvLearner.pretrained(LITE0, data, precompute=True, xtra_fc=[], weights=file)
    groups = learn.get_layer_groups()
    assert [any(p.requires_grad for m in group for p in m.parameters()) for group in groups] == [False, False, True]
    assert all(p.requires_grad for m in groups[2] for p in m.parameters())
    body = weights_of(learn, 0, 1)
    results = learn.fit_one_cycle(12, 1e-2)
    assert results["accuracy"] > 0.7  # of ten classes, from 400 pictures
    assert same(weights_of(learn, 0, 1), body)
    assert results["accuracy"] == pytest.approx(np.mean(learn.predict().argmax(1) == data.val_y))


def test_frozen_layers_keep_weights_and_statistics_while_the_head_trains() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data())
    body, head = weights_of(learn, 0, 1), weights_of(learn, 2)
    learn.fit(1e-2, 1)
    assert same(weights_of(learn, 0, 1), body)
    assert not same(weights_of(learn, 2), head)
    learn.unfreeze()
    learn.fit(1e-2, 1)
    assert not same(weights_of(learn, 0, 1), body)


def test_unfrozen_groups_train_at_their_own_rates() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data(), opt_fn=torch.optim.SGD)
    learn.unfreeze()
    before = [weights_of(learn, i) for i in range(3)]
    learn.fit(np.array([0, 1e-4, 1e-2]), 1)

    def moved(i: int) -> float:
        """Largest change of a convolution or linear layer."""
        pairs = zip(weights_of(learn, i), before[i], strict=True)
        return max(float((x - old).abs().max()) for x, old in pairs if x.ndim > 1)

    assert moved(0) == 0
    assert 0 < moved(1) < moved(2)


@pytest.mark.parametrize(("n", "bs", "workers"), [(10, 4, 0), (1, 4, 0), (8, 4, 0), (10, 3, 2)])
def test_predict_is_in_dataset_order_and_equals_one_picture_at_a_time(
    digits: Path, n: int, bs: int, workers: int
) -> None:
    torch.manual_seed(0)
    tfms = tfms_from_stats(imagenet_stats, 20, transforms_basic)
    data = ImageClassifierData.from_paths(digits, bs=bs, tfms=tfms, num_workers=workers)
    chosen = np.random.default_rng(0).permutation(len(data.val_ds))[:n]
    data.val_ds.items = [data.val_ds.items[i] for i in chosen]
    data.val_ds.y = data.val_ds.y[chosen]
    learn = ConvLearner.from_model_data(small_net(), data)
    for norm in batch_norms(learn.model):
        norm.running_mean.normal_()
    learn.model.train()
    preds, targs = learn.predict_with_targs()
    one_by_one = [learn.predict_array(tfms[1](open_image(file))[None]) for file in data.val_ds.paths]
    assert preds.shape == (n, 10)
    np.testing.assert_allclose(preds, np.concatenate(one_by_one), atol=1e-5)
    np.testing.assert_array_equal(targs, [int(file.parent.name) for file in data.val_ds.paths])
    np.testing.assert_allclose(np.exp(preds).sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(learn.predict_proba(), np.exp(preds), atol=1e-6)
    assert learn.model.training


def test_test_pictures_are_predicted_in_the_order_of_their_names(digits: Path, tmp_path: Path) -> None:
    for i, file in enumerate(sorted(digits.glob("valid/*/*.png"))[::20]):
        (tmp_path / f"{9 - i}.png").write_bytes(file.read_bytes())
    tfms = tfms_from_stats(imagenet_stats, 20)
    data = ImageClassifierData.from_paths(digits, bs=2, tfms=tfms, test_name=str(tmp_path))
    learn = ConvLearner.from_model_data(small_net(), data)
    expected = [learn.predict_array(tfms[1](open_image(file))[None])[0] for file in sorted(tmp_path.iterdir())]
    np.testing.assert_allclose(learn.predict(is_test=True), expected, atol=1e-5)
    without = ConvLearner.from_model_data(small_net(), ImageClassifierData.from_paths(digits, tfms=tfms))
    with pytest.raises(DataError, match=r"no test set \(`test_name`"):
        without.predict(is_test=True)


def test_a_last_batch_of_a_single_picture_can_be_trained_on() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data(n=5, bs=4))
    results = learn.fit(1e-3, 1)
    assert np.isfinite(results["trn_loss"])


@pytest.mark.parametrize(("weights", "frozen"), [(None, True), (False, False)])
def test_only_pretrained_bodies_are_frozen(weights: bool | None, frozen: bool) -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data(), weights=weights)
    groups = learn.get_layer_groups()
    assert len(groups) == 3
    flags = trainable(learn)
    n_head = len([p for m in groups[2] for p in m.parameters()])
    assert flags == [not frozen] * (len(flags) - n_head) + [True] * n_head


def test_head_options_reach_the_head() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data(c=3), ps=[0.1, 0.2], xtra_fc=[7])
    shapes = [m.weight.shape for m in learn.model.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(7, 16), (3, 7)]
    assert [m.p for m in learn.model.modules() if isinstance(m, nn.Dropout)] == [0.1, 0.2]


def test_a_custom_head_replaces_the_standard_one_and_is_what_trains() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    learn = ConvLearner.pretrained(small_body(), fake_data(), custom_head=head)
    assert list(learn.get_layer_groups()[-1]) == [head]
    assert [p.requires_grad for p in head.parameters()] == [True, True]
    assert learn.predict().shape == (8, 2)
    learn.fit(1e-2, 1)


def test_layer_groups_of_ones_own_model_are_its_children() -> None:
    learn = ConvLearner.from_model_data(small_net(2), fake_data())
    assert [list(group) for group in learn.get_layer_groups()] == [[child] for child in learn.model.children()]
    learn.freeze_to(-4)
    assert trainable(learn) == [False] * 4 + [True] * 6
    learn.freeze()
    assert trainable(learn) == [False] * 8 + [True] * 2
    single = ConvLearner.from_model_data(nn.ModuleDict({"net": small_net(2)}), fake_data())
    assert len(single.get_layer_groups()) == 1


def test_the_lessons_model_for_activation_maps_trains_its_new_layers_and_its_maps_are_those_of_cam() -> None:
    resnet = resnet18(weights=None)
    conv = nn.Conv2d(512, 2, 3, padding=1)
    layers = [*list(resnet.children())[:-2], conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LogSoftmax(dim=1)]
    data = fake_data(sz=64)
    model = nn.Sequential(*layers)
    learn = ConvLearner.from_model_data(model, data)
    learn.freeze_to(-4)
    assert {id(p) for p in learn.model.parameters() if p.requires_grad} == {id(p) for p in conv.parameters()}
    before = [x.clone() for x in conv.state_dict().values()]
    body = weights_of(learn, *range(len(layers) - 4))
    learn.fit(1e-2, 1)
    assert not same(before, list(conv.state_dict().values()))
    assert same(body, weights_of(learn, *range(len(layers) - 4)))

    x = torch.stack([picture for picture, _ in data.val_ds])
    with SaveFeatures(model[-4]) as saved:
        scores = learn.predict_array(x)
    chosen = saved.features[range(len(x)), scores.argmax(1)][:, None].clamp(min=0)
    large = F.interpolate(chosen, (64, 64), mode="bilinear")[:, 0]
    by_hand = (large - large.amin((1, 2), keepdim=True)) / (large.amax((1, 2)) - large.amin((1, 2)))[:, None, None]
    np.testing.assert_allclose(learn.cam(x).maps, by_hand.nan_to_num(), atol=1e-5)


def test_training_goes_on_with_bigger_pictures_but_not_with_other_classes() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data(sz=16))
    learn.set_data(fake_data(sz=24))
    learn.fit(1e-3, 1)
    with pytest.raises(DataError, match=r"predicts Category \[0, 1, 2\]; the model was made for Category \[0, 1\]"):
        learn.set_data(fake_data(c=3))
    assert learn.data.trn_ds.sz == 24


def test_weights_survive_saving_and_loading(tmp_path: Path) -> None:
    data = fake_data()
    learn = ConvLearner.pretrained(small_body(), data)
    learn.fit(1e-2, 1)
    preds = learn.predict()
    learn.save(tmp_path / "digits")
    other = ConvLearner.pretrained(small_body(), data)
    assert not np.allclose(other.predict(), preds)
    other.load(tmp_path / "digits")
    np.testing.assert_array_equal(other.predict(), preds)


def test_summary_of_a_pretrained_network_shows_what_is_frozen() -> None:
    learn = ConvLearner.pretrained(small_body(), fake_data())
    before = [x.clone() for x in learn.model.state_dict().values()]
    state = torch.get_rng_state()
    summary = learn.summary()
    assert summary.nb_params == sum(row.nb_params for row in summary.layers)
    assert summary.nb_trainable == sum(row.nb_params for row in summary.layers if row.trainable)
    assert summary.layers[0].input_shape == (-1, 3, 16, 16)
    assert [row.trainable for row in summary.layers][:2] == [False, False]
    assert all(torch.equal(a, b) for a, b in zip(learn.model.state_dict().values(), before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
