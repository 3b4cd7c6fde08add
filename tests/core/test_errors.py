"""Boundary checks accept exactly what they say, and their messages say what to do."""

import builtins
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnkit.core import errors
from learnkit.core.errors import (
    LearnkitError,
    MissingExtraError,
    check_choice,
    check_fraction,
    check_positive,
    optional_import,
)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("DataError", "ValueError"),
        ("TrainingError", "RuntimeError"),
        ("NonFiniteError", "RuntimeError"),
        ("CheckpointError", "ValueError"),
        ("MissingExtraError", "ImportError"),
    ],
)
def test_each_exception_is_caught_as_ours_and_as_the_builtin(name: str, builtin: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, LearnkitError)
    assert issubclass(error, getattr(builtins, builtin))


@given(st.floats())
def test_a_fraction_lies_strictly_between_0_and_1(value: float) -> None:
    if 0 < value < 1:
        assert check_fraction("val_pct", value) == value
    else:
        with pytest.raises(ValueError, match=r"`val_pct` must be in \(0, 1\); got"):
            check_fraction("val_pct", value)


def test_a_percentage_gets_the_fraction_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"got 20. For 20% pass 0.2.$"):
        check_fraction("val_pct", 20)
    with pytest.raises(ValueError, match=r"got -3.$"):
        check_fraction("val_pct", -3)
    with pytest.raises(ValueError, match=r"got 46.4\d+. For 46.41\d+% pass 0.4641\d+.$"):
        check_fraction("val_pct", 150000 / 3232)
    with pytest.raises(ValueError, match=r"got 400. It is a share: for k of n pass k / n.$"):
        check_fraction("val_pct", 400)
    for value in ("0.2", None, [0.2], True):
        with pytest.raises(TypeError, match=r"`val_pct` must be a share in \(0, 1\), a number such as 0.2; got"):
            check_fraction("val_pct", value)  # type: ignore[arg-type]


@given(st.floats() | st.integers(-(10**6), 10**6), st.booleans())
def test_positive_means_positive_and_finite_and_whole_where_asked(value: float, integer: bool) -> None:
    if math.isfinite(value) and value > 0 and not (integer and value != int(value)):
        assert check_positive("n", value, integer=integer) == value
    else:
        with pytest.raises(ValueError, match=r"`n` must be a positive (whole )?number; got"):
            check_positive("n", value, integer=integer)


@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), torch.tensor(3)])
def test_positive_numbers_of_other_libraries_are_numbers(value: float) -> None:
    assert check_positive("bs", value, integer=True) == 3


@pytest.mark.parametrize("value", [True, "3", None, [3]])
def test_what_is_no_number_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=r"`bs` must be a positive number; got"):
        check_positive("bs", value)  # type: ignore[arg-type]


def test_a_wrong_choice_lists_the_right_ones() -> None:
    check_choice("crop", "center", ("center", "squish"))
    with pytest.raises(ValueError, match=r"`crop` must be one of 'center', 'squish'; got 'centre'"):
        check_choice("crop", "centre", ("center", "squish"))


def test_a_missing_extra_gives_the_pip_command() -> None:
    assert optional_import("math", extra="none") is math
    with pytest.raises(MissingExtraError, match=r'`no_such_module`.* pip install "learnkit\[timm\]"'):
        optional_import("no_such_module.part", extra="timm")
