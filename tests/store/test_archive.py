"""Archives: nested data and tensors come back as they were, type by type, bit by bit."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnkit import CheckpointError
from learnkit.core.preserve import random_state
from learnkit.store.archive import digest, pack, read_archive, unpack, write_archive

DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.just("~")), inner, max_size=4),
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, NaN to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return a.hex() == b.hex()
    return bool(a == b)


@given(DATA)
def test_any_nest_of_data_comes_back(value: Any) -> None:
    tensors: dict[str, torch.Tensor] = {}
    assert same(value, unpack(pack(value, tensors), tensors))


def test_everything_a_checkpoint_needs_comes_back_from_a_file(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    opt = torch.optim.Adam(model.parameters(), amsgrad=True)
    model(torch.ones(1, 3)).sum().backward()
    opt.step()
    dtypes = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.uint8, torch.int64]
    state: dict[str, Any] = {
        "optimizer": opt.state_dict(),
        "random": random_state(torch.Generator()),
        "long": [0.1 * i for i in range(1000)],
        "numbers": list(range(-500, 500)),
        "special": [math.inf, -math.inf, -0.0, 1e-320],
        "arrays": [np.arange(5).astype(kind) for kind in ("u1", "u2", "u4", "u8", "i2", "f4", "f8", "?")],
        "tensors": [torch.arange(4).to(dtype) for dtype in dtypes] + [torch.tensor(3.5), torch.zeros(0, 2)],
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "slice": slice(1e-4, 1e-2),
        "ordered": OrderedDict(a=1),
        "default": defaultdict(list, {1: [2]}),
        "np": [np.float32(0.1), np.int64(7), np.bool_(True)],
    }
    file = write_archive(tmp_path / "a", "test", {"w": model.weight}, state)
    again = read_archive(file, "test")
    assert torch.equal(again.weights["w"], model.weight)
    assert digest(again.state) == digest(state)
    for a, b in zip(again.state["arrays"], state["arrays"], strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)
    for a, b in zip(again.state["tensors"], state["tensors"], strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert again.state["long"] == state["long"]
    assert again.state["special"] == state["special"]
    assert again.state["slice"] == state["slice"]
    opt.load_state_dict(again.state["optimizer"])
    assert again.versions["torch"] == torch.__version__


def test_what_is_read_can_be_changed(tmp_path: Path) -> None:
    """An optimizer goes on in the memory that was read."""
    file = write_archive(tmp_path / "a", "test", {"w": torch.ones(3)}, {"x": torch.ones(3), "a": np.ones(3)})
    again = read_archive(file, "test")
    for value in (again.weights["w"], again.state["x"], again.state["a"]):
        value += 1


def test_writing_the_same_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    files = [write_archive(tmp_path / name, "t", {"w": torch.ones(3)}, {"x": [1.5, torch.ones(2)]}) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_not_data_is_named_with_its_place() -> None:
    with pytest.raises(CheckpointError, match=r"state\.callbacks\.1\.file is object, which is not data"):
        pack({"callbacks": [{}, {"file": object()}]}, {})
