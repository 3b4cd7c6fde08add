"""Moving nests of tensors, the bridges to NumPy, and seeding."""

import os
import random
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from learnkit.core.device import VV, T, V, default_device, map_tensors, seed_everything, to_cpu, to_device, to_np


class Pair(NamedTuple):
    x: Any
    y: Any


def test_the_environment_overrides_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEARNKIT_DEVICE", "meta")
    assert default_device() == torch.device("meta")
    monkeypatch.delenv("LEARNKIT_DEVICE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert default_device() == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert default_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device() == torch.device("cuda")


def test_map_tensors_reaches_every_tensor_and_keeps_the_nest() -> None:
    one = torch.ones(1)
    nest = {"a": [one, (one, "text")], "b": Pair(one, None), "c": 3}
    out = map_tensors(lambda x: float(x) + 1, nest)
    assert out == {"a": [2.0, (2.0, "text")], "b": Pair(2.0, None), "c": 3}
    assert isinstance(out["b"], Pair)


def test_to_device_moves_nests_and_does_not_copy_what_is_there() -> None:
    x = torch.zeros(2)
    moved = to_device((x, {"y": [x]}), "meta")
    assert moved[0].device.type == moved[1]["y"][0].device.type == "meta"
    assert to_device(x, torch.device("cpu")) is x


def test_channels_last_changes_the_memory_layout_of_pictures_only() -> None:
    pictures, features = torch.randn(2, 3, 4, 5), torch.randn(2, 3)
    moved = to_device((pictures, features), torch.device("cpu"), channels_last=True)
    assert moved[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved[0], pictures)
    assert moved[1] is features


def test_to_cpu_and_to_np_drop_the_gradient() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    assert not to_cpu([x])[0].requires_grad
    arrays = to_np({"x": x, "half": torch.ones(1, dtype=torch.bfloat16), "name": "n"})
    assert arrays["x"].tolist() == [2, 2]
    assert arrays["half"].dtype == np.float32
    assert arrays["name"] == "n"


@given(hnp.arrays(st.sampled_from([np.int64, np.float32]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_array_to_tensor_and_back_is_the_identity(array: Any) -> None:
    back = to_np(T({"a": (array, array)}))["a"]
    assert isinstance(back, tuple)
    assert back[0].dtype == array.dtype
    np.testing.assert_array_equal(back[0], array)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (True, torch.int64),
        (np.array([1, 2], np.uint8), torch.int64),
        (3, torch.int64),
        ([1.5], torch.float32),
        (np.float64(2), torch.float32),
        (np.zeros(2, np.float16), torch.float32),
    ],
)
def test_integers_become_int64_and_other_numbers_float32(value: Any, dtype: torch.dtype) -> None:
    assert T(value).dtype == dtype


def test_tensors_pass_and_text_is_refused() -> None:
    x = torch.zeros(1, dtype=torch.float16)
    assert T(x) is x
    with pytest.raises(TypeError, match="expected numbers.*Encode text"):
        T(["cat", "dog"])


def draw_from_every_generator() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_one_seed_repeats_python_numpy_and_torch() -> None:
    seed_everything(7)
    first = draw_from_every_generator()
    assert draw_from_every_generator() != first
    seed_everything(7)
    assert draw_from_every_generator() == first


def test_deterministic_asks_torch_for_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    try:
        seed_everything(0)
        assert not torch.are_deterministic_algorithms_enabled()
        seed_everything(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's own setting stays
    finally:
        torch.use_deterministic_algorithms(False)


def test_v_is_t_on_the_device_and_keeps_lists(monkeypatch):
    monkeypatch.setenv("LEARNKIT_DEVICE", "meta")  # any device but the one tensors are made on
    assert V(np.ones(3)).device.type == "meta"
    monkeypatch.setenv("LEARNKIT_DEVICE", "cpu")
    xs = V([torch.arange(3), np.array([0.5])])
    assert isinstance(xs, list)
    assert [x.dtype for x in xs] == [torch.int64, torch.float32]
    nested = V((torch.zeros(1), (np.zeros(2), torch.zeros(3))))
    assert isinstance(nested, tuple)
    assert nested[1][0].shape == (2,)
    for value in ([1, 2], [[1.0, 2.0], [3.0, 4.0]], 3.0, np.arange(4)):
        assert torch.equal(V(value), T(value))
        assert torch.equal(VV(value), T(value))


def test_v_asks_for_gradients_and_vv_for_none():
    a = V(np.array([3.0]), requires_grad=True)
    (a * a).sum().backward()
    assert a.grad.item() == 6
    assert V(a) is a  # already what was asked for, with its history
    assert not VV(a).requires_grad
    x = torch.zeros(2)
    assert V(x, requires_grad=True).requires_grad
    assert not x.requires_grad
    with pytest.raises(TypeError, match="floating-point"):
        V(np.arange(3), requires_grad=True)


def test_numbers_that_are_too_large_are_refused_and_infinities_are_kept():
    with pytest.raises(ValueError, match="below 3.4e38.*got 1e"):
        T(np.array([1.0, 1e200]))
    with pytest.raises(ValueError, match=r"below 2\*\*63"):
        T(np.array([2**63], dtype=np.uint64))
    assert T(np.array([np.inf, -np.inf])).isinf().all()
    assert T(np.array([2**63 - 1], dtype=np.uint64)).tolist() == [2**63 - 1]
