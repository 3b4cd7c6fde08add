"""A digest of state and code: equal for equals, another for whatever would do something else."""

import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from learnkit.core.fingerprint import fingerprint
from learnkit.vision import Cutout, ImageTransforms

FACTOR = 2


class Scale:
    def __init__(self, by: Any) -> None:
        self.by = by

    def __call__(self, x: Any) -> Any:
        return x * self.by


class Slotted:
    __slots__ = ("by",)

    def __init__(self, by: Any) -> None:
        self.by = by


def made_by(code: str) -> Any:
    space: dict[str, Any] = {"__name__": "__main__", "np": np}
    exec(code, space)
    return space["f"]


def closure(by: Any) -> Callable[[Any], Any]:
    return lambda x: x * by


@pytest.mark.parametrize(
    ("one", "equal", "other"),
    [
        (Scale(1), Scale(1), Scale(2)),
        (Scale([1, {"a": 2}]), Scale([1, {"a": 2}]), Scale([1, {"a": 3}])),
        (Scale(np.arange(3)), Scale(np.arange(3)), Scale(np.arange(3) + 1)),
        (Scale(torch.ones(2)), Scale(torch.ones(2)), Scale(torch.zeros(2))),
        (Slotted(1), Slotted(1), Slotted(2)),
        (Scale(1).__call__, Scale(1).__call__, Scale(2).__call__),
        (partial(closure, 1), partial(closure, 1), partial(closure, 2)),
        (closure(1), closure(1), closure(2)),
        (made_by("f = lambda x: x + 1"), made_by("f = lambda x: x + 1"), made_by("f = lambda x: x + 2")),
        (made_by("K = 1\ndef f(x): return x + K"), made_by("K = 1\ndef f(x): return x + K"), made_by("K = 2\ndef f(x): return x + K")),
        (made_by("def f(x): return np.sin(x)"), made_by("def f(x): return np.sin(x)"), made_by("def f(x): return np.cos(x)")),
        (v2.Compose([v2.Resize(8)]), v2.Compose([v2.Resize(8)]), v2.Compose([v2.Resize(9)])),
        (ImageTransforms(8, aug_tfms=[Cutout(1, 2)]), ImageTransforms(8, aug_tfms=[Cutout(1, 2)]), ImageTransforms(8, aug_tfms=[Cutout(1, 3)])),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU()), nn.Sequential(nn.LeakyReLU())),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)),
        (np.flipud, np.flipud, np.fliplr),
    ],
)  # fmt: skip
def test_equals_have_one_digest_and_others_another(one: Any, equal: Any, other: Any) -> None:
    assert fingerprint(one) is not None
    assert fingerprint(one) == fingerprint(equal)
    assert fingerprint(one) != fingerprint(other)


def test_a_change_of_state_is_a_change_of_digest() -> None:
    scale = Scale(1)
    before = fingerprint(scale)
    scale.by = 5
    assert fingerprint(scale) != before


def test_weights_do_not_count_but_what_else_a_module_holds_does() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(one) == fingerprint(other)
    one.gain = 3.0  # type: ignore[assignment]
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    "unknown",
    [
        Scale(object()),
        Scale(iter([1])),
        Scale(np.array([object()], dtype=object)),
        made_by("mine = __import__('types').ModuleType('mine')\ndef f(x): return mine.k"),
    ],
)
def test_what_cannot_be_told_has_no_digest(unknown: Any) -> None:
    assert fingerprint(unknown) is None


def test_what_refers_to_itself_ends() -> None:
    scale = Scale(None)
    scale.by = [scale]
    assert fingerprint(scale) is not None
    assert isinstance(types.ModuleType("x"), types.ModuleType)
