"""The model card: what is known of an exported model, in Markdown beside its file, with room for what only its author knows.

What learnkit writes stands between two marks, and is written anew with each export; everything else in the file stays.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learnkit.core.errors import LearnkitError
from learnkit.core.listing import some
from learnkit.core.version import __version__
from learnkit.data.bunch import DataBunch
from learnkit.data.files import atomic_path
from learnkit.data.prep import Prep
from learnkit.data.targets import MultiCategory, Real, Target

__all__ = ["card_path", "card_text", "write_card"]

BEGIN = "<!-- written by learnkit: what stands from here to the next mark is written anew with each export -->"
END = "<!-- end of what learnkit writes -->"

ROOM = """
## What it is for

Say what the model is for and what it must not be used for, where its data come from, whom they show and whom they do not, and
whom to ask.
"""


def card_path(file: Path) -> Path:
    """Return where the card of an exported file stands: `cats.card.md` beside `cats.onnx`."""
    return file.with_name(f"{file.stem}.card.md")


def write_card(file: Path, text: str) -> Path:
    """Write the card of an exported file; what its author wrote into an earlier one stays.

    Parameters
    ----------
    file : Path
        The exported file.
    text : str
        Of `card_text`.
    """
    card = card_path(file)
    own = f"{BEGIN}\n\n{text}\n\n{END}"
    content = f"# {file.stem}\n\n{own}\n{ROOM}"
    if card.is_file():
        before = card.read_text(encoding="utf-8")
        head, begun, rest = before.partition(BEGIN)
        _, ended, tail = rest.partition(END)
        content = f"{head}{own}{tail}" if begun and ended else f"{before.rstrip()}\n\n{own}\n"
    with atomic_path(card) as temporary:
        temporary.write_text(content, encoding="utf-8")
    return card


def card_text(
    kind: str,
    model: nn.Module,
    data: DataBunch,
    prep: Prep | None,
    epochs: Sequence[Mapping[str, float]],
) -> str:
    """Return what is known of a model.

    Parameters
    ----------
    kind : str
        Of the learner.
    model : nn.Module
    data : DataBunch
        What it was trained on; of a learner that was opened it is empty.
    prep : Prep or None
    epochs : sequence of mapping
        Figures of the epochs of the last fit.
    """
    n = sum(p.numel() for p in model.parameters())
    rows = {
        "predicts": _target_in_words(data.target),
        "model": f"{kind}, {type(model).__name__}, {n:,} parameters",
        "prepared": "by code of one's own" if prep is None else prep.in_words(),
        "training data": _size(data, "trn"),
        "validation data": _size(data, "val"),
        "made with": f"learnkit {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "written": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
    }
    table = "\n".join(f"| {name} | {_cell(text)} |" for name, text in rows.items() if text)
    return f"| | |\n|---|---|\n{table}\n\n{_figures(epochs)}"


def _figures(epochs: Sequence[Mapping[str, float]]) -> str:
    if not epochs:
        return (
            "Figures on the validation set are not known: the model was not trained here since it was made or opened."
        )
    last = {name: value for name, value in epochs[-1].items() if name not in ("epoch", "time", "trn_loss")}
    if not last:
        return "There was no validation set, so nothing is known of how good the model is."
    names, values = " | ".join(last), " | ".join(f"{value:.4g}" for value in last.values())
    return (
        f"Figures on the validation set, after the last epoch of the last fit (of {len(epochs)}):\n\n"
        f"| {names} |\n|{'---|' * len(last)}\n| {values} |"
    )


def _target_in_words(target: Target | None) -> str:
    if target is None:
        return "what the model returns; it is not said what it means"
    if target.classes is None:
        if isinstance(target, Real):
            return "a number" if target.c == 1 else f"{target.c} numbers"
        return type(target).__name__
    many = "any of" if isinstance(target, MultiCategory) else "one of"
    return f"{many} {len(target.classes):,} classes: {some([str(name) for name in target.classes], 20)}"


def _size(data: DataBunch, part: str) -> str:
    with suppress(LearnkitError, TypeError, AttributeError):
        n = len(getattr(data, f"{part}_ds"))
        return f"{n:,} items" if n else ""
    return ""


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")
