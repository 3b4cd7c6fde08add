"""What a saved `CollabLearner` is made of, all of it data that nothing runs.

`name.safetensors` holds the weights and, as JSON in its header, the ids, titles and the arguments of the model.
`name.seen.npz` beside it holds which items each user had in the training set, so that they are not recommended again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from learnkit.collab.data import CollabFilterData
from learnkit.collab.ids import Vocabulary, decode_ids, encode_ids
from learnkit.collab.interactions import Interactions
from learnkit.collab.models import MODELS, EmbeddingModel
from learnkit.collab.ranking import Preference
from learnkit.core.errors import CheckpointError
from learnkit.data.files import atomic_path
from learnkit.data.targets import Real

__all__ = ["check_same_ids", "ids_to_meta", "model_from_meta", "read_seen", "restore_data", "write_seen"]


def ids_to_meta(data: CollabFilterData, model: nn.Module) -> dict[str, Any]:
    """Return what the header says besides the weights."""
    ours = isinstance(model, EmbeddingModel) and MODELS.get(type(model).__name__) is type(model)
    return {
        "users": encode_ids(data.users.ids, "user"),
        "items": encode_ids(data.items.ids, "item"),
        "titles": data.titles,
        "y_range": None if data.y_range is None else list(data.y_range),
        "mean": data.mean,
        "feedback": "implicit" if isinstance(data.target, Preference) else "explicit",
        "arguments": model.config() if ours and isinstance(model, EmbeddingModel) else None,
    }


def check_same_ids(meta: Mapping[str, Any], data: CollabFilterData, file: Path) -> None:
    """Raise if the weights belong to other users or items, or to the same in another order."""
    for name, vocabulary in (("users", data.users), ("items", data.items)):
        saved = meta.get("collab", {}).get(name)
        if saved is not None and saved != encode_ids(vocabulary.ids, vocabulary.what):
            raise CheckpointError(
                f"{file} was saved for {len(saved)} {name}; the data has {len(vocabulary)}, or others, or in another "
                "order, so the rows of the tables would be mixed up. Use `CollabLearner.from_file` to get the saved "
                "learner with its own ids."
            )


def model_from_meta(meta: Mapping[str, Any], file: Path) -> nn.Module:
    """Make the model that was saved, untrained."""
    kind, arguments = meta.get("model"), meta["collab"].get("arguments")
    if kind not in MODELS or arguments is None:
        raise CheckpointError(
            f"{file} holds a model of the class {kind}, which is not one of learnkit's ({', '.join(MODELS)}). Make the "
            "learner from the data, with your model, and call `learn.load(name)`."
        )
    make: Callable[..., nn.Module] = MODELS[kind]
    return make(**{key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()})


def restore_data(meta: Mapping[str, Any], file: Path) -> CollabFilterData:
    """Return a data bunch without ratings: enough to answer, nothing to train on."""
    saved = meta.get("collab")
    if not isinstance(saved, dict):
        raise CheckpointError(f"{file} was not saved by a CollabLearner: its header has no users and items.")
    users = Vocabulary(decode_ids(saved["users"]), "user")
    items = Vocabulary(decode_ids(saved["items"]), "item")
    found = read_seen(file, users.size, items.size)
    seen, user_counts, item_counts = found or (None, np.ones(users.size), np.ones(items.size))
    folder = file.parent.parent if file.parent.name == "models" else file.parent
    return CollabFilterData(
        folder,
        [],
        target=Preference() if saved["feedback"] == "implicit" else Real(),
        users=users,
        items=items,
        titles=saved["titles"],
        user_counts=user_counts.astype(np.int64),
        item_counts=item_counts.astype(np.int64),
        y_range=None if saved["y_range"] is None else (saved["y_range"][0], saved["y_range"][1]),
        mean=saved["mean"],
        find_seen=None if seen is None else lambda: seen,
    )


def write_seen(file: Path, data: CollabFilterData) -> None:
    """Write who has seen what beside the weights."""
    seen = data.seen
    if seen is None:
        return
    with atomic_path(_seen_path(file)) as temporary, open(temporary, "wb") as out:
        np.savez_compressed(
            out,
            starts=seen.starts,
            items=seen.items,
            user_counts=data.user_counts,
            item_counts=data.item_counts,
        )


def read_seen(file: Path, n_users: int, n_items: int) -> tuple[Interactions, NDArray[Any], NDArray[Any]] | None:
    """Read who has seen what, and how often each user and item occurred; `None` if there is no such file."""
    beside = _seen_path(file)
    if not beside.is_file():
        return None
    try:
        with open(beside, "rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            starts, items = arrays["starts"], arrays["items"]
            counts = arrays["user_counts"], arrays["item_counts"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise CheckpointError(f"{beside} is damaged: {exc}. Remove it to go on without what users have seen.") from exc
    fits = (len(starts), len(counts[0]), len(counts[1])) == (n_users + 1, n_users, n_items) and starts[-1] == len(items)
    if not fits or (len(items) and not 0 < items.min() <= items.max() < n_items):
        raise CheckpointError(f"{beside} belongs to another model than {file}. Save both again.")
    return Interactions(starts, items, n_items), *counts


def _seen_path(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(".safetensors") + ".seen.npz")
