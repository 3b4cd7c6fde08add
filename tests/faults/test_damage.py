"""Files cut off, with flipped bits, overwritten: what is read is what was written, or it is refused."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from learnkit import CheckpointError
from learnkit.store.weights import read_meta
from tests.faults.files import KINDS

DAMAGES = 100 * int(os.environ.get("LEARNKIT_FAULTS", "1"))  # per kind of file


def damage(data: bytes, rng: random.Random) -> bytes:
    """Do to a file what disks, networks and crashes do."""
    broken = bytearray(data)
    at, n = rng.randrange(len(data)), min(rng.choice([1, 8, 64, 512, 4096]), len(data))
    kind = rng.choice(["cut", "flip", "flip", "flips", "zeros", "noise", "twice", "missing", "more", "swapped"])
    # Half of them in the first and last kilobytes, where headers and lists of contents are.
    if rng.random() < 0.5:
        at = rng.choice([at % 2048, len(data) - 1 - at % 2048]) % len(data)
    if kind == "cut":
        return data[:at]
    if kind in ("flip", "flips"):
        for _ in range(1 if kind == "flip" else rng.randrange(2, 20)):
            broken[at] ^= 1 << rng.randrange(8)
            at = rng.randrange(len(data))
    elif kind == "zeros":
        broken[at : at + n] = bytes(len(broken[at : at + n]))
    elif kind == "noise":
        broken[at : at + n] = rng.randbytes(len(broken[at : at + n]))
    elif kind == "twice":
        broken[at:at] = broken[at : at + n]
    elif kind == "missing":
        del broken[at : at + n]
    elif kind == "more":
        broken += rng.randbytes(n)
    else:
        other = rng.randrange(len(data))
        broken[at : at + n], broken[other : other + n] = broken[other : other + n], broken[at : at + n]
    return bytes(broken)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_or_hold_what_was_written(kind: str, tmp_path: Path) -> None:
    file, read = KINDS[kind](tmp_path)
    expected, data = read(file), file.read_bytes()
    rng = random.Random(kind)
    messages: list[str] = []
    for i in range(DAMAGES):
        file.write_bytes(damage(data, rng))
        try:
            found = read(file)
        except CheckpointError as exc:
            messages.append(str(exc))
        else:
            assert found == expected, (i, "another content was read")
        if kind == "weights":
            with contextlib.suppress(CheckpointError):
                read_meta(file)
    assert len(messages) > DAMAGES / 2
    assert [message for message in messages if str(file) not in message] == []
    file.write_bytes(data)
    assert read(file) == expected
