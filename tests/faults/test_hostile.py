"""Files made to do harm are refused, and nothing in them is run."""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnkit import Category, CheckpointError, DataError, LearnkitError, load_learner, load_model
from learnkit.store.archive import digest, pack, read_archive, write_archive
from learnkit.store.weights import read_meta, read_weights
from learnkit.train.resume import Checkpoints
from learnkit.vision import ConvLearner, ImageClassifierData
from tests.faults.files import KINDS
from tests.train.helpers import learner, net

MARK = "LEARNKIT_HARM"


class Harm:
    """Sets a mark in the environment when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.environ[{MARK!r}] = '1'",)


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(MARK, raising=False)
    yield
    assert MARK not in os.environ, "code in a file was run"


def test_the_payload_works() -> None:
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(Harm()))
    assert os.environ.pop(MARK) == "1"


PICKLES: dict[str, Callable[[Path], object]] = {
    "pickle": lambda path: path.write_bytes(pickle.dumps(Harm())),
    "pickle, protocol 0": lambda path: path.write_bytes(pickle.dumps(Harm(), 0)),
    "torch": lambda path: torch.save(Harm(), path),
    "torch, in a state_dict": lambda path: torch.save({**net().state_dict(), "x": Harm()}, path),
    "torch, old format": lambda path: torch.save(
        {"w": torch.ones(2), "x": Harm()}, path, _use_new_zipfile_serialization=False
    ),
    "numpy": lambda path: save_array(np.save, path),
    "npz": lambda path: save_array(np.savez, path),
}


def save_array(save: Callable[..., object], path: Path) -> None:
    """Under any name; NumPy would add its own ending."""
    with open(path, "wb") as file:
        save(file, np.array([Harm()], dtype=object))


@pytest.mark.parametrize("kind", PICKLES)
@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.safetensors", "m.learnkit", "m", "000001.checkpoint"])
def test_pickles_are_refused_wherever_a_file_is_read(kind: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    PICKLES[kind](file)
    learn = learner(tmp_path)
    readers: list[Callable[[Any], object]] = [
        read_weights,
        read_meta,
        learn.load,
        load_learner,
        lambda path: load_model(net(), path),
        lambda path: read_archive(path, "checkpoint"),
        lambda path: learn.resume(Path(path).parent),
    ]
    for read in readers:
        with pytest.raises(CheckpointError):
            read(file)


@pytest.mark.parametrize("kind", PICKLES)
def test_pretrained_weights_from_a_stranger(kind: str, tmp_path: Path) -> None:
    PICKLES[kind](tmp_path / "w.pth")
    pixels = np.zeros((4, 32, 32, 3), np.uint8)
    data = ImageClassifierData.from_arrays(tmp_path, (pixels, [0, 1, 0, 1]), (pixels, [0, 1, 0, 1]), 2, num_workers=0)
    with pytest.raises(CheckpointError):
        ConvLearner.pretrained("squeezenet1_1", data, weights=tmp_path / "w.pth")


def test_a_cache_of_activations_from_a_stranger_is_made_again(tmp_path: Path) -> None:
    from learnkit.vision import tfms_from_stats

    pixels = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    tfms = tfms_from_stats(([0.5] * 3, [0.5] * 3), 32)
    data = ImageClassifierData.from_arrays(tmp_path, (pixels, [0, 1] * 4), (pixels, [0, 1] * 4), 4, tfms, num_workers=0)
    learn = ConvLearner.pretrained("squeezenet1_1", data, weights=False, precompute=True, xtra_fc=[4])
    learn.no_progress()
    before = learn.predict()
    caches = list((tmp_path / "tmp" / "activations").glob("*.npy"))
    assert caches
    for file in caches:
        good = file.read_bytes()
        for bad in (None, good[:-9], good[:200] + bytes([good[200] ^ 4]) + good[201:]):
            if bad is None:
                PICKLES["numpy"](file)
            else:
                file.write_bytes(bad)
            assert np.array_equal(learn.predict(), before)


# ---------------------------------------------------------------- zips


def exported(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """An exported learner and its parts."""
    file = KINDS["table"](tmp_path)[0]
    with zipfile.ZipFile(file) as opened:
        return file, {name: opened.read(name) for name in opened.namelist()}


def repack(file: Path, parts: dict[str, bytes], *, listed: bool = True, **options: Any) -> Path:
    """Write parts into a zip; `listed` brings names, sizes and checksums up to date, as an attacker would."""
    import hashlib

    if listed:
        manifest = json.loads(parts["manifest.json"])
        manifest["parts"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in parts.items()
            if name != "manifest.json"
        }
        parts = {**parts, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(file, "w") as opened:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name)
            for key, value in options.get(name, options.get("every", {})).items():
                setattr(info, key, value)
            opened.writestr(info, data)
    return file


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.py",
        "/etc/cron.d/evil",
        "C:\\evil",
        "..\\evil",
        "sub/state.json",
        "evil.pkl",
        "weights.pth",
        "",
        "state.json/",
        "évil",
        "a\nb",
        "x" * 60_000,
    ],
)
def test_names_that_do_not_belong_are_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    file, parts = exported(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    repack(file, {**parts, name: pickle.dumps(Harm())})
    with pytest.raises(CheckpointError, match="does not belong there|damaged"):
        load_learner(file)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_come_twice(tmp_path: Path) -> None:
    file, parts = exported(tmp_path)
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("state.json", parts["state.json"])
    with pytest.raises(CheckpointError, match="is there twice"):
        load_learner(file)


@pytest.mark.parametrize(
    "options",
    [
        {"compress_type": zipfile.ZIP_DEFLATED},
        {"external_attr": 0o120777 << 16},  # a link
    ],
)
def test_compressed_parts_and_links(options: dict[str, Any], tmp_path: Path) -> None:
    file, parts = exported(tmp_path)
    repack(file, parts, every=options)
    with pytest.raises(CheckpointError, match="is compressed, encrypted or a link"):
        load_learner(file)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    file, parts = exported(tmp_path)
    repack(file, {**parts, "state.json": bytes(1 << 28)}, every={"compress_type": zipfile.ZIP_DEFLATED})
    assert file.stat().st_size < 1 << 20
    started = time.process_time()
    with pytest.raises(CheckpointError, match="compressed"):
        load_learner(file)
    assert time.process_time() - started < 30


def test_sizes_and_flags_that_lie(tmp_path: Path) -> None:
    """Every field of every entry of the zip's own lists, set to what it must not be."""
    file, parts = exported(tmp_path)
    repack(file, parts)
    data = file.read_bytes()
    lists = {b"PK\x01\x02": 46, b"PK\x03\x04": 30, b"PK\x05\x06": 22}
    expected = KINDS["table"](tmp_path / "again")[1](file)
    tried = 0
    for mark, length in lists.items():
        start = data.find(mark)
        while start >= 0:
            for at in range(start + 4, start + length):
                for value in (0x00, 0xFF) if at % 2 else (0x01, 0x7F):
                    broken = bytearray(data)
                    broken[at] = value
                    file.write_bytes(broken)
                    tried += 1
                    try:
                        found = KINDS["table"].__globals__["_exported"](file)[1](file)
                    except CheckpointError:
                        continue
                    assert found == expected
            start = data.find(mark, start + 4)
    assert tried > 400


def test_parts_that_overlap(tmp_path: Path) -> None:
    """Two names for one place in the file: small files that unpack to much."""
    file, parts = exported(tmp_path)
    repack(file, {**parts, "state.json": parts["state.json"]})
    data = bytearray(file.read_bytes())
    # Let the second central entry point where the first one does.
    first = data.find(b"PK\x01\x02")
    second = data.find(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match="parts overlap"):
        load_learner(file)


@pytest.mark.parametrize("part", ["weights.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Harm()),
        b"",
        b"null",
        b"{}",
        b"[" * 200_000,
        b"[" * 70 + b"]" * 70,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b"9" * 100_000,
        b"1e999999",
        b"NaN",
        b'"\\ud800"',
        b"\xff\xfe",
        b'{"~": "tensor", "v": "nothing"}',
        b'{"~": "array", "v": "state", "dtype": "O"}',
        b'{"~": "object", "v": "os.system"}',
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100 << 20) + b"{" * 1000,
        struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}'[:60],
        struct.pack("<Q", 62) + b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,400000000]}}'[:62],
    ],
    ids=lambda data: repr(data[:24]),
)
def test_parts_of_another_making(part: str, data: bytes, tmp_path: Path) -> None:
    file, parts = exported(tmp_path)
    repack(file, {**parts, part: data}, listed=part != "manifest.json")
    started = time.process_time()
    with pytest.raises(CheckpointError):
        load_learner(file)
    assert time.process_time() - started < 30


def test_too_much_json_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from learnkit.store import archive

    file, parts = exported(tmp_path)
    monkeypatch.setattr(archive, "MAX_JSON", 1000)
    repack(file, {**parts, "state.json": b"[" + b"1," * 1000 + b"1]"})
    with pytest.raises(CheckpointError, match="at most 1,000 are read"):
        load_learner(file)
    with pytest.raises(CheckpointError, match="too long"):
        write_archive(tmp_path / "long", "x", {}, ["word"] * 999)


# ---------------------------------------------------------------- what the description says


def changed(tmp_path: Path, kind: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """A well-formed file whose description an attacker has written."""
    file = KINDS[kind](tmp_path)[0]
    archive = read_archive(file, "checkpoint" if kind == "checkpoint" else "learner")
    change(archive.state)
    return write_archive(file, "checkpoint" if kind == "checkpoint" else "learner", archive.weights, archive.state)


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "application": ("table", lambda s: s.update(application="os")),
    "application, dotted": ("table", lambda s: s.update(application="learnkit.tabular.learner")),
    "architecture": ("pictures", lambda s: s["recipe"]["model"].update(arch="os.system")),
    "architecture from a hub": ("pictures", lambda s: s["recipe"]["model"].update(arch="timm/hf_hub:evil/model")),
    "architecture from a folder": ("pictures", lambda s: s["recipe"]["model"].update(arch="timm/local-dir:/tmp/evil")),
    "augmentation": (
        "pictures",
        lambda s: s["recipe"]["data"]["tfms"][0]["aug_tfms"].append({"kind": "exec", "arguments": {"p": 1}}),
    ),
    "augmentation, base": (
        "pictures",
        lambda s: s["recipe"]["data"]["tfms"][0]["aug_tfms"].append(
            {"kind": "ImageTransforms", "arguments": {"sz": 1}}
        ),
    ),
    "augmentation, arguments": (
        "pictures",
        lambda s: s["recipe"]["data"]["tfms"][0]["aug_tfms"].append({"kind": "RandomFlip", "arguments": {"x": 1}}),
    ),
    "target": ("table", lambda s: s.update(target={"kind": "os.system", "c": 1})),
    "setting": ("table", lambda s: s.update(settings={})),
    "weights of another name": (
        "table",
        lambda s: s["model_state"]["attributes"].update({"nothing": {"forward": None}}),
    ),
    "huge head": ("pictures", lambda s: s["recipe"]["model"].update(xtra_fc=[10**9])),
    "huge embedding": ("table", lambda s: s["recipe"]["model"].update(emb_szs=[(10**12, 9)])),
    "huge table of users": ("ratings", lambda s: s["recipe"]["model"]["arguments"].update(n_users=10**12)),
    "model of ratings": ("ratings", lambda s: s["recipe"]["model"].update(kind="Linear")),
    "ids": ("ratings", lambda s: s["recipe"]["data"]["users"].__setitem__(0, {"pickle": "00"})),
    "seen items out of range": ("ratings", lambda s: s["recipe"]["data"]["seen"]["items"].__setitem__(0, 30_000)),
    "vocabulary of another size": ("stream", lambda s: s["recipe"]["data"]["field"]["itos"].append("more")),
    "field": ("stream", lambda s: s["recipe"]["data"].update(field={"tokenize": "os.system"})),
    "huge encoder": ("stream", lambda s: s["recipe"]["model"]["encoder"].update(n_hid=10**9, em_sz=10**9)),
    "columns": ("table", lambda s: s["recipe"]["data"]["mapper"]["columns"].append({"kind": "os"})),
    "no recipe": ("table", lambda s: s.pop("recipe")),
    "recipe of another kind": ("table", lambda s: s.update(recipe=[1, 2])),
}


@pytest.mark.parametrize("name", CHANGES)
def test_descriptions_that_ask_for_what_they_must_not(name: str, tmp_path: Path) -> None:
    file = changed(tmp_path, *CHANGES[name])
    started = time.process_time()
    with pytest.raises(CheckpointError):
        load_learner(file)
    assert time.process_time() - started < 30


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["call"].update(method="export", arguments={}),
        lambda s: s["call"].update(method="fit", arguments={"__class__": 1}),
        lambda s: s["call"].update(plans=None),
        lambda s: s["call"].update(plans=[]),
        lambda s: s["call"]["plans"][0].update(kind="export"),
        lambda s: s["call"]["plans"][0].update(kind="__init__"),
        lambda s: s["call"]["plans"][0].update(evil=1),
        lambda s: s["call"]["plans"][0].update(layers="evil"),
        lambda s: s["call"].update(part=5),
        lambda s: s["call"].update(part=-1),
        lambda s: s["call"].update(part="first"),
        lambda s: s["call"].update(settings={}),
        lambda s: s.update(every="often"),
        lambda s: s.update(random={}),
        lambda s: s.update(optimizer={"state": {}, "param_groups": []}),
        lambda s: s["setting"].update(callbacks=[]),
        lambda s: s.update(callbacks=[1] * len(s["callbacks"])),
        lambda s: s.update(batch=-5),
        lambda s: s.update(batch=10**9),
        lambda s: s.update(epoch=-1),
        lambda s: s.update(epoch_start=None),
    ],
)
def test_checkpoints_that_ask_for_what_they_must_not(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    file = changed(tmp_path, "checkpoint", change)
    for other in set(file.parent.iterdir()) - {file}:
        other.unlink()
    with pytest.raises(LearnkitError):
        learner(tmp_path, net(seed=1)).resume(file.parent)


def test_a_checkpoint_cannot_replace_methods_or_paths(tmp_path: Path) -> None:
    """What a callback gets back is data where it had data: no method, file name or function is overwritten."""
    from learnkit import SaveBest

    callback = SaveBest(tmp_path / "best")
    callback.load_state_dict({"path": "/etc/evil", "after_epoch": "x", "__class__": "y", "best": 0.5})
    assert (callback.path, callback.best) == (tmp_path / "best", 0.5)
    assert callable(callback.after_epoch)
    assert type(callback) is SaveBest


def test_only_data_can_be_packed() -> None:
    for value in (
        object(),
        Harm(),
        print,
        {1, 2},
        np.array([Harm()], dtype=object),
        nn.Linear(1, 1),
        Category(list("ab")),
    ):
        with pytest.raises(CheckpointError, match="which is not data"):
            pack({"x": [value]}, {})
    assert digest({"~": "tensor", "v": 1}) != digest({})


def test_resume_reads_only_its_own_files(tmp_path: Path) -> None:
    for name in ("000001.checkpoint.tmp", "evil.checkpoint", "1.checkpoint", "..checkpoint"):
        (tmp_path / name).write_bytes(pickle.dumps(Harm()))
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Checkpoints.resume(tmp_path)
    (tmp_path / "000009.checkpoint").mkdir()
    with pytest.raises((CheckpointError, DataError)):
        Checkpoints.resume(tmp_path)
