"""Plots take axes, return axes, and draw what they were given."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from learnkit.core.plots import get_ax, plot_confusion_matrix, plots


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw without a screen, fail if anything calls `show`, close what was drawn."""
    mpl.use("Agg")

    def show(*args: object, **kwargs: object) -> None:
        raise AssertionError("a plot called show()")

    monkeypatch.setattr(plt, "show", show)
    yield
    plt.close("all")


def test_axes_that_are_given_are_used() -> None:
    _, ax = plt.subplots()
    n = len(plt.get_fignums())
    assert get_ax(ax) is ax
    assert plot_confusion_matrix([[1, 0], [0, 1]], ["a", "b"], ax=ax) is ax
    assert len(plt.get_fignums()) == n
    fig = get_ax(None, (3, 2)).figure
    assert isinstance(fig, Figure)
    assert tuple(fig.get_size_inches()) == (3, 2)


def test_plots_draws_each_picture_under_its_title_in_the_rows_asked_for() -> None:
    rng = np.random.default_rng(0)
    ims = rng.random((5, 4, 6, 3))
    fig = plots(ims, rows=2, titles=["cat", 0.12345, np.float32(0.5), 7, "dog"], figsize=(5, 3))
    assert [ax.get_title() for ax in fig.axes] == ["cat", "0.123", "0.500", "7", "dog"]
    for ax, im in zip(fig.axes, ims, strict=True):
        np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), im)
    spec = fig.axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().get_geometry() == (2, 3)
    assert tuple(fig.get_size_inches()) == (5, 3)


def test_plots_takes_channels_first_grey_and_uint8_and_clips_the_rest() -> None:
    first = np.random.default_rng(0).random((3, 4, 5))
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    wild = np.full((4, 5, 3), 1.5)
    drawn = [np.asarray(ax.images[0].get_array()) for ax in plots([first, grey, wild]).axes]
    np.testing.assert_allclose(drawn[0], first.transpose(1, 2, 0))
    np.testing.assert_array_equal(drawn[1], grey)
    assert drawn[2].max() == 1


@pytest.mark.parametrize("grey", [np.full((4, 4), 0.5), np.full((4, 4), 128, np.uint8)], ids=["float", "uint8"])
def test_a_grey_picture_is_drawn_as_bright_as_it_is(grey: np.ndarray) -> None:
    image = plots([grey]).axes[0].images[0]
    red, green, blue, _ = np.asarray(image.to_rgba(grey))[0, 0]
    assert red == green == blue == pytest.approx(0.5, abs=0.01)


def test_plots_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="holds no picture"):
        plots([])
    with pytest.raises(ValueError, match="2 pictures, 1 titles"):
        plots(np.zeros((2, 4, 4, 3)), titles=["a"])


def test_confusion_matrix_shows_counts_or_shares_of_each_row() -> None:
    cm = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    ax = plot_confusion_matrix(cm, ["cat", "dog", "emu"], title="Pets")
    at = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
    assert at == {(col, row): str(cm[row, col]) for row in range(3) for col in range(3)}
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("Pets", "predicted", "actual")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "emu"]
    shares = plot_confusion_matrix(cm, ["cat", "dog", "emu"], normalize=True)
    assert [text.get_text() for text in shares.texts[:3]] == ["0.80", "0.20", "0.00"]
    assert [text.get_text() for text in shares.texts[6:]] == ["0.00"] * 3  # an empty row, not NaN


def test_confusion_matrix_must_fit_its_classes() -> None:
    with pytest.raises(ValueError, match=r"must be 3 x 3 for 3 classes; got shape \(2, 2\)"):
        plot_confusion_matrix([[1, 0], [0, 1]], ["a", "b", "c"])
