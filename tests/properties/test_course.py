"""The course's calls over inputs drawn at random: the right answer, or an error in words."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from learnkit import VV, LayerOptimizer, T, V
from learnkit.core.errors import DataError
from learnkit.core.layers import set_trainable
from learnkit.course import (
    AddPadding,
    CenterCrop,
    NoCrop,
    RandomBlur,
    RandomFlipXY,
    RandomRotateZoom,
    RandomScale,
    RandomStretch,
    Scale,
    parse_csv_labels,
    split_by_idx,
)
from learnkit.vision import ImageTransforms, RandomCrop, RandomDihedral, RandomLighting, RandomRotate, RandomZoom

DTYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.bool_])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=5),
        elements={"allow_nan": False} if np.dtype(dtype).kind == "f" else None,
    )
)


@given(ARRAYS, st.lists(st.integers(-7, 7), max_size=6))
def test_split_by_idx_parts_the_rows_or_says_why_not(array: Any, idxs: list[int]) -> None:
    n = len(array)
    places = [i % n for i in idxs if -n <= i < n]
    fine = len(places) == len(idxs) == len(set(places)) and len(places) < n
    if not fine:
        with pytest.raises(DataError, match="`val_idxs`"):
            split_by_idx(idxs, array)
        return
    ((chosen, others),) = split_by_idx(idxs, array)
    assert chosen.dtype == others.dtype == array.dtype
    assert np.array_equal(chosen, array[sorted(places)])
    assert np.array_equal(others, np.delete(array, places, axis=0))


@settings(max_examples=50)
@given(ARRAYS)
def test_v_holds_what_t_holds_in_any_nest(array: Any) -> None:
    if array.dtype == np.float64 and np.isfinite(array).any() and np.abs(array[np.isfinite(array)]).max() > 3.4e38:
        with pytest.raises(ValueError, match="float32"):
            V(array)
        return
    nest = (array, [array, torch.from_numpy(array.copy())])
    for mapped in (V(nest), VV(nest)):
        assert isinstance(mapped, tuple)
        assert isinstance(mapped[1], list)
        for tensor in (mapped[0], mapped[1][0]):
            assert tensor.dtype == (torch.float32 if array.dtype.kind == "f" else torch.int64)
            assert torch.equal(tensor.cpu(), T(array))
        assert mapped[1][1].dtype == torch.from_numpy(array).dtype
    if array.dtype.kind == "f":
        assert V(array, requires_grad=True).requires_grad


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters='",|'),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25)
@given(
    st.dictionaries(NAMES, st.lists(NAMES, max_size=4), min_size=1, max_size=8),
    st.sampled_from([" ", "|"]),
    st.booleans(),
)
def test_a_table_of_labels_comes_back_as_it_was_written(
    labels: dict[str, list[str]], separator: str, header: bool
) -> None:
    lines = ["name,tags"] * header + [f"{name},{separator.join(tags)}" for name, tags in labels.items()]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "labels.csv")
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        fnames, read = parse_csv_labels(table, header, separator)
    assert fnames == list(labels)
    assert read == labels


SZ = 12
AUGMENTS = st.one_of(
    st.builds(RandomFlipXY, st.floats(0, 1)),
    st.builds(RandomRotateZoom, st.floats(0, 180), st.floats(0, 2), st.floats(0, 2)),
    st.builds(RandomStretch, st.floats(0, 3)),
    st.builds(Scale, st.integers(SZ, 60)),
    st.builds(RandomScale, st.integers(SZ, 60), st.floats(1, 3), st.floats(0, 1)),
    st.builds(AddPadding, st.integers(1, 20)),
    st.builds(CenterCrop, st.sampled_from([None, SZ])),
    st.builds(RandomCrop, st.sampled_from([None, SZ])),
    st.builds(NoCrop, st.sampled_from([None, SZ])),
    st.builds(RandomBlur, st.sampled_from([1, 3, 5, [3, 7]]), st.floats(0, 1)),
    st.builds(RandomRotate, st.floats(0, 180)),
    st.builds(RandomZoom, st.floats(1, 4)),
    st.builds(RandomLighting, st.floats(0, 0.5), st.floats(0, 0.5)),
    st.builds(RandomDihedral),
)


@settings(max_examples=150)
@given(st.lists(AUGMENTS, max_size=5), st.integers(2, 40), st.integers(2, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_any_augmentations_together_give_a_picture_of_the_size_asked_for(
    augments: list[Any], h: int, w: int, seed: int, squish: bool
) -> None:
    """One grey stays that grey, wherever the pixels come from; light is left out of that."""
    tfm = ImageTransforms(SZ, None, augments, crop="squish" if squish else "center")
    noise = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    item = tfm.item(noise, np.random.default_rng(seed))
    assert (item.dtype, tuple(item.shape)) == (torch.uint8, (3, SZ, SZ))
    assert torch.equal(item, tfm.item(noise, np.random.default_rng(seed)))
    grey = np.full((h, w, 3), 100, dtype=np.uint8)
    if not any(isinstance(augment, RandomLighting) for augment in augments):
        values = tfm.item(grey, np.random.default_rng(seed))
        assert int((values.int() - 100).abs().max()) <= 1


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_layers_say_what_was_set_last(flags: list[bool]) -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in flags))
    set_trainable(model, True)
    for layer, flag in zip(model, flags, strict=True):
        set_trainable(layer, flag)
    for layer, flag in zip(model, flags, strict=True):
        modules: Any = list(layer.modules())
        assert [module.trainable for module in modules] == [flag] * 3
        assert {p.requires_grad for p in layer.parameters()} == {flag}


@settings(max_examples=15)
@given(
    st.lists(st.floats(0, 0.5), min_size=3, max_size=3),
    st.sampled_from([torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW]),
)
def test_decays_that_are_set_anew_are_those_of_an_optimizer_made_so(wds: list[float], kind: Any) -> None:
    def after_a_step(first: Any, then: Any) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 1))
        lo = LayerOptimizer(kind, [[layer] for layer in model], 0.1, first)
        if then is not None:
            lo.set_wds(then)
        model(torch.ones(2, 3)).sum().backward()
        lo.opt.step()
        return [p.detach() for p in model.parameters()]

    for first in (0.0, 0.3, None):
        for made, changed in zip(after_a_step(wds, None), after_a_step(first, wds), strict=True):
            torch.testing.assert_close(made, changed)
