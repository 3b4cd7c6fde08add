"""`ConvLearner.pretrained`: dropout of the head, networks as they are; and activations that are never stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import DataError, load_learner
from learnkit.core.errors import TrainingError
from learnkit.vision import ConvLearner, ConvSpec, ImageClassifierData, ImageInterpretation, ImageTransforms
from learnkit.vision import precompute as precompute_module

tfm_state: list[float] = [1.0]  # what a transform reads from outside itself

X = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
Y = np.arange(8) % 2
ARCH = "squeezenet1_1"


class Shade:
    """A transform of the user's own, whose attribute may change."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, picture: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))) * self.by


class Hidden(Shade):
    """One that depends on what cannot be told."""

    def __init__(self, by: float) -> None:
        super().__init__(by)
        self.source = iter([by])


class Dimmed(nn.Module):
    """A body that holds more than weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.by = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * self.by


def load(path: Path, tfms: Any = None, classes: Any = ("a", "b")) -> ImageClassifierData:
    tfms = tfms or (ImageTransforms(32), ImageTransforms(32))
    return ImageClassifierData.from_arrays(path, (X, Y), (X[:4], Y[:4]), bs=4, tfms=tfms, classes=list(classes))


def drops(learn: ConvLearner) -> list[float]:
    return [m.p for m in learn.model[1].modules() if isinstance(m, nn.Dropout)]  # type: ignore[index]


# ---------------------------------------------------------------- dropout


def test_one_number_is_the_dropout_of_every_layer_and_none_the_courses(tmp_path: Path) -> None:
    data = load(tmp_path)
    assert drops(ConvLearner.pretrained(ARCH, data, weights=False)) == [0.25, 0.5]
    with pytest.warns(
        FutureWarning, match=r"ps=0.5 is the dropout before every layer.*Pass ps=\[0.25, 0.5\] for what it was"
    ):
        learn = ConvLearner.pretrained(ARCH, data, weights=False, ps=0.5)
    assert drops(learn) == [0.5, 0.5]
    assert drops(ConvLearner.pretrained(ARCH, data, weights=False, ps=0.4, xtra_fc=[])) == [0.4]  # nothing to warn of
    again = load_learner(learn.export(tmp_path / "m"))
    assert drops(again) == [0.5, 0.5]
    with pytest.raises(TypeError, match="`ps` must be a "):
        ConvLearner.pretrained(ARCH, data, weights=False, ps="0.5")  # type: ignore[arg-type]


def test_a_file_of_an_earlier_version_keeps_its_dropout() -> None:
    model: Any = ConvSpec.from_data({"arch": ARCH, "c": 2, "ps": 0.5, "xtra_fc": None}).build()
    assert [m.p for m in model[1].modules() if isinstance(m, nn.Dropout)] == [0.25, 0.5]


# ---------------------------------------------------------------- a network as it is


def test_a_network_as_it_is_predicts_its_own_thousand_classes(tmp_path: Path) -> None:
    learn = ConvLearner.pretrained(ARCH, load(tmp_path), weights=False, head=False)
    preds = learn.predict()
    assert preds.shape == (4, 1000)
    np.testing.assert_allclose(np.exp(preds).sum(1), 1, atol=1e-4)
    classes = learn.data.classes or []
    assert (classes[0], classes[207], len(set(classes))) == ("tench", "golden retriever", 1000)
    assert load(tmp_path).classes == ["a", "b"]
    with torch.no_grad():
        expected = learn.model.eval()(next(iter(learn.data.val_dl or ()))[0]).log_softmax(1)
    np.testing.assert_allclose(preds, expected, atol=1e-4)
    for call in (lambda: learn.fit(0.01, 1), learn.validate, learn.interpret):
        with pytest.raises((DataError, TrainingError), match="labels of the data are of other classes"):
            call()
    again = load_learner(learn.export(tmp_path / "m"))
    np.testing.assert_allclose(
        again.predict_array(torch.zeros(1, 3, 32, 32)), learn.predict_array(torch.zeros(1, 3, 32, 32)), atol=1e-5
    )


def test_data_of_as_many_classes_trains_a_network_as_it_is(tmp_path: Path) -> None:
    data = load(tmp_path, classes=[str(i) for i in range(1000)])
    learn = ConvLearner.pretrained(ARCH, data, weights=False, head=False)
    learn.no_progress()
    assert learn.fit(1e-3, 1)["val_loss"] > 0
    assert learn.data is data
    with pytest.raises(ValueError, match="with `head=False` there is none"):
        ConvLearner.pretrained(ARCH, data, weights=False, head=False, xtra_fc=[3])
    with pytest.raises(DataError, match="needs a body and a head"):
        ConvLearner.pretrained(ARCH, data, weights=False, head=False, precompute=True)


# ---------------------------------------------------------------- never stale


@pytest.mark.parametrize(
    "kind", [Shade, Hidden, lambda by: ImageTransforms(32, aug_tfms=[lambda x: (x * tfm_state[0]).byte()])]
)
def test_a_transform_that_changes_is_heard(tmp_path: Path, kind: Any) -> None:
    tfm_state[0] = 1.0
    tfm = kind(1.0)
    learn = ConvLearner.pretrained(ARCH, load(tmp_path, (tfm, tfm)), weights=False, precompute=True, xtra_fc=[4])
    learn.model.eval()
    with_precompute = learn.predict()
    if isinstance(tfm, Shade):
        tfm.by = 0.25
    else:
        tfm_state[0] = 0.25
    changed = learn.predict()
    learn.precompute = False
    np.testing.assert_allclose(changed, learn.predict(), atol=1e-5)
    assert np.abs(changed - with_precompute).max() > 1e-4
    kept = list((tmp_path / "tmp" / "activations").glob("*.npy")) if (tmp_path / "tmp" / "activations").exists() else []
    assert len(kept) == (0 if kind is Hidden else len(kept))


def test_a_body_that_changes_is_heard(tmp_path: Path) -> None:
    body = Dimmed()
    learn = ConvLearner.pretrained(body, load(tmp_path), weights=False, precompute=True, xtra_fc=[4])
    before = learn.predict()
    body.by = 3.0
    after = learn.predict()
    learn.precompute = False
    np.testing.assert_allclose(after, learn.predict(), atol=1e-5)
    assert np.abs(after - before).max() > 1e-4


def test_what_is_known_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    monkeypatch.setattr(precompute_module, "_write", _counting(computed, precompute_module._write))
    tfm = Shade(1.0)
    learn = ConvLearner.pretrained(ARCH, load(tmp_path, (tfm, tfm)), weights=False, precompute=True, xtra_fc=[4])
    learn.no_progress()
    learn.fit(1e-3, 1)
    n = len(computed)
    assert n == 2  # training and validation
    learn.predict()
    learn.fit(1e-3, 1)
    learn.model.train()
    learn.fit(1e-3, 1)
    assert len(computed) == n  # whatever mode the model was left in


def _counting(calls: list[int], write: Any) -> Any:
    def counted(*args: Any) -> Any:
        calls.append(1)
        return write(*args)

    return counted


# ---------------------------------------------------------------- names


def test_names_with_dollars_and_underscores_are_drawn_as_text(tmp_path: Path) -> None:
    names = ["$a_b_c$", "_b", "c$ost$"]
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 12)
    said = ImageInterpretation(probs, np.arange(12) % 3, names, None)
    texts = [text.get_text() for text in said.plot_roc().get_legend().get_texts()]  # type: ignore[union-attr]
    assert [text.strip().split(" ")[0] for text in texts] == names
    data = load(tmp_path, classes=names[:2])
    data.show_batch(1, 2).canvas.draw()
    learn = ConvLearner.pretrained(ARCH, data, weights=False, xtra_fc=[4])
    learn.cam(0).plot().canvas.draw()
    said.plot_confusion_matrix().figure.canvas.draw()
    assert "$a_b_c$" in said.report()


def test_a_class_is_found_under_either_spelling(tmp_path: Path) -> None:
    data = load(tmp_path, classes=["caf\u00e9", "b"])
    learn = ConvLearner.pretrained(ARCH, data, weights=False, xtra_fc=[4])
    assert learn.cam(0, "cafe\u0301").targets == [0]
    said = learn.interpret()
    assert set(said.most_correct("cafe\u0301")) | set(said.most_incorrect("cafe\u0301")) == {0, 2}


def test_two_learners_of_one_module_do_not_share_it(tmp_path: Path) -> None:
    data = load(tmp_path)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, data.c))
    one, two = (ConvLearner.pretrained(body, data, weights=False, custom_head=head) for _ in range(2))
    kept = two.predict()
    one.fit(0.1, 1)
    assert np.abs(one.predict() - kept).max() > 0
    np.testing.assert_array_equal(two.predict(), kept)
    own: Any = one.model
    assert own[0][0] is body[0]  # the first has the module itself, and hears what is done to it
    assert own[1] is head
