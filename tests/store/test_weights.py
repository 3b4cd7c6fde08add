"""What was saved comes back, whole or not at all, and nothing in a file is ever run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import learnkit
from learnkit import CheckpointError, LearnkitError, load_model, save_model
from learnkit.store.model_state import load_model_state, model_state
from learnkit.store.weights import read_meta, read_weights, weights_path
from tests.train.helpers import assert_same, learner, net, plain_net, snapshot

TRAVERSE = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---------------------------------------------------------------- round trip


class Odd(nn.Module):
    """Tied weights, views, several dtypes, an empty tensor, a scalar, memory in another order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.emb, self.out = nn.Embedding(5, 4), nn.Linear(4, 5)
        self.out.weight = self.emb.weight
        self.brain = nn.Parameter(torch.randn(3).bfloat16())
        self.conv = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
        self.register_buffer("count", torch.tensor(seed))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("transposed", torch.randn(4, 6).T)
        both = torch.randn(8)
        self.register_buffer("start", both[:5])
        self.register_buffer("end", both[3:])
        self.register_buffer("mask", torch.rand(6) > 0.5)
        self.register_buffer("scratch", torch.randn(2), persistent=False)


def test_round_trip_of_every_kind_of_tensor(tmp_path):
    model, other = Odd(1), Odd(2)
    path = save_model(model, tmp_path / "odd")
    assert load_model(other, path) is None  # type: ignore[func-returns-value]
    assert_same(model, other)
    assert other.out.weight is other.emb.weight
    assert {v.dtype for v in other.state_dict().values()} == {torch.float32, torch.bfloat16, torch.int64, torch.bool}


def test_tied_weights_are_stored_once_and_load_into_untied_ones(tmp_path):
    class Twice(nn.Module):
        def __init__(self, tied: bool):
            super().__init__()
            self.a, self.b = nn.Linear(50, 50, bias=False), nn.Linear(50, 50, bias=False)
            if tied:
                self.b.weight = self.a.weight

    tied, untied = Twice(True), Twice(False)
    path = save_model(tied, tmp_path / "tied")
    assert path.stat().st_size < 1.3 * 50 * 50 * 4
    load_model(untied, path)
    assert torch.equal(untied.a.weight, tied.a.weight)
    assert torch.equal(untied.b.weight, tied.a.weight)


def test_batch_norm_statistics_and_training_go_on_where_they_were(tmp_path):
    learn = learner(tmp_path)
    learn.fit(0.1, 2)
    expected = learn.predict()
    learn.save("here")
    fresh = learner(tmp_path, net(seed=9))
    fresh.load("here")
    assert_same(learn.model, fresh.model)
    assert (fresh.predict() == expected).all()


def test_saving_says_where_and_makes_folders(tmp_path):
    assert save_model(net(), tmp_path / "a" / "b") == tmp_path / "a" / "b.safetensors"
    assert save_model(net(), str(tmp_path / "c.safetensors")) == tmp_path / "c.safetensors"
    assert save_model(net(), tmp_path / "resnet18.v2") == tmp_path / "resnet18.v2.safetensors"
    assert weights_path("x") == Path("x.safetensors")
    learn = learner(tmp_path)
    assert learn.save("name") == tmp_path / "models" / "name.safetensors"
    assert learn.save(tmp_path / "elsewhere") == tmp_path / "elsewhere.safetensors"
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["name.safetensors"]  # no temporary file left


def test_meta_comes_back(tmp_path):
    meta = {"classes": ["a", "ü"], "n": 3, "nested": {"x": [1, 2.5, None]}}
    path = save_model(net(), tmp_path / "m", meta=meta)
    assert read_meta(path) == read_meta(tmp_path / "m") == meta
    learn = learner(tmp_path)
    own = read_meta(learn.save("own"))
    assert own["classes"] == ["a", "b", "c"]
    assert own["learnkit"] == learnkit.__version__


def test_file_is_plain_safetensors(tmp_path):
    """Anybody's reader can open it, and it loads as weights of any model."""
    from safetensors.torch import load_file

    model = net()
    path = save_model(model, tmp_path / "m")
    theirs = load_file(path)
    assert_same({name: theirs[name] for name in model.state_dict()}, model)
    assert set(read_weights(path)) == set(model.state_dict())


def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    old = net(seed=1)
    path = save_model(old, tmp_path / "m")
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="could not be written .disk full.; what was there before is untouched"):
        save_model(net(seed=2), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_only_tensors_can_be_saved(tmp_path):
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"a": 1}

        def set_extra_state(self, state):
            pass

    with pytest.raises(CheckpointError, match=r"'_extra_state' is dict; only tensors can be saved"):
        save_model(Extra(2, 2), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_loading_keeps_device_dtype_and_gradients_settings(tmp_path):
    model, other = net(seed=1), net(seed=2).double()
    other[0].weight.requires_grad_(False)
    load_model(other, save_model(model, tmp_path / "m"))
    assert other[0].weight.dtype == torch.float64
    assert not other[0].weight.requires_grad
    assert_same({name: value.to(model.state_dict()[name].dtype) for name, value in snapshot(other).items()}, model)


# ---------------------------------------------------------------- another architecture


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)),
            r"2 of 4 layers differ:\n  2\.weight: \(4, 8\) in the model, \(3, 8\) in the file\n  2\.bias: \(4,\) in",
        ),
        (lambda: nn.Sequential(nn.Linear(6, 8)), r"2\.weight: only in the file, \(3, 8\)"),
        (lambda: nn.Sequential(*plain_net(), nn.Linear(3, 3)), r"3\.weight: only in the model, \(3, 3\)"),
        (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3, bias=False)), "2.bias: only in the file"),
        (lambda: nn.Sequential(*(nn.Linear(3, 3) for _ in range(9))), r"(?s)22 of 18|\.\.\. and \d+ more"),
    ],
)
def test_another_architecture_is_refused_with_the_layers_named(other, words, tmp_path):
    path = save_model(plain_net(), tmp_path / "m")
    model = other()
    before = snapshot(model)
    with pytest.raises(
        CheckpointError, match=r"(?s)m\.safetensors was saved from another architecture; nothing was"
    ) as e:
        load_model(model, path)
    assert e.match("(?s)" + words)
    assert_same(before, model)


# ---------------------------------------------------------------- damaged files


@pytest.fixture
def saved(tmp_path) -> Path:
    return save_model(net(seed=1), tmp_path / "m", meta={"classes": ["a", "b"]})


def attempt(path: Path) -> str | None:
    """Load the file; return the message if it is refused, and hold it to "nothing changed"."""
    model = net(seed=2)
    before = snapshot(model)
    try:
        load_model(model, path)
    except CheckpointError as exc:
        assert_same(before, model)
        return str(exc)
    return None


def test_truncated_file_of_any_length_is_refused(saved):
    data = saved.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    lengths = {0, 1, 7, 8, 9, 20, header - 1, header, header + 1, len(data) - 4, len(data) - 1}
    lengths |= set(range(0, len(data), 97))
    for n in sorted(lengths):
        saved.write_bytes(data[:n])
        message = attempt(saved)
        assert message is not None, n
        assert "not a complete safetensors file" in message, (n, message)
        assert f"({n:,} bytes)" in message, (n, message)
        assert "another copy" in message, (n, message)
    saved.write_bytes(data + b"more")
    assert attempt(saved) is not None


def test_bit_flips_in_the_header_never_crash(saved):
    """It is refused with our own error, or what was loaded is what was saved."""
    data = saved.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    original = net(seed=1).state_dict()
    generator = torch.Generator().manual_seed(0)
    positions = torch.randperm(header * 8, generator=generator)[:500].tolist()
    model = net(seed=2)
    before = snapshot(model)
    for position in [*range(64 + 16), *positions]:
        broken = bytearray(data)
        broken[position // 8] ^= 1 << position % 8
        saved.write_bytes(broken)
        model.load_state_dict(before)
        try:
            load_model(model, saved)
        except CheckpointError:
            assert_same(before, model)
        else:
            assert_same(original, model)
        with contextlib.suppress(CheckpointError):
            assert isinstance(read_meta(saved), dict)


@given(st.binary(max_size=200))
@TRAVERSE
def test_any_bytes_are_refused(tmp_path, data):
    path = tmp_path / "any.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        load_model(net(), path)


def with_header(path: Path, ours: Any, **other: Any) -> Path:
    """A well-formed safetensors file with another header of ours."""
    from safetensors.torch import save_file

    text = ours if isinstance(ours, str) else json.dumps(ours)
    save_file({k: v.clone() for k, v in net().state_dict().items()}, path, metadata={"learnkit": text, **other})
    return path


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ("{", "not a complete"),
        ("[" * 100_000, "not a complete"),
        ([], "header is not one"),
        (3, "header is not one"),
        ({"aliases": []}, "header is not one"),
        ({"aliases": {"a": 3}}, "header is not one"),
        ({"aliases": {"a": "b"}}, "has format None"),
        ({"meta": 3}, "`meta` in its header is no JSON object"),
        ({"format": 99}, "has format 99; this learnkit reads format 2"),
        ({"format": 2, "aliases": {}, "meta": {}}, "has format 2"),
        ({"format": 2, "aliases": {"extra": "0.bias"}, "meta": {}, "sha256": "0"}, "checksum does not agree"),
    ],
)
def test_header_of_another_making(ours, words, tmp_path):
    model = net(seed=2)
    before = snapshot(model)
    with pytest.raises(CheckpointError, match=words):
        load_model(model, with_header(tmp_path / "m.safetensors", ours))
    assert_same(before, model)


def test_file_without_our_header_loads(tmp_path):
    from safetensors.torch import save_file

    model = net(seed=1)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "m.safetensors")
    other = net(seed=2)
    load_model(other, tmp_path / "m")
    assert_same(model, other)
    assert read_meta(tmp_path / "m") == {}


# ---------------------------------------------------------------- missing files, pickles


def test_missing_file_lists_what_is_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file .*m\.safetensors. Its folder holds: \(nothing\)"):
        load_model(net(), tmp_path / "m")
    save_model(net(), tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"Its folder holds: other\.safetensors"):
        load_model(net(), tmp_path / "m")
    with pytest.raises(CheckpointError, match="there is no file"):
        load_model(net(), tmp_path / "no" / "such" / "folder" / "m")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="there is no file"):
        load_model(net(), tmp_path / "folder")
    assert issubclass(CheckpointError, LearnkitError)
    assert issubclass(CheckpointError, ValueError)


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("read", [lambda path: load_model(net(), path), read_meta, read_weights])
def test_pickle_is_refused_and_not_run(protocol, read, tmp_path):
    mark, path = tmp_path / "run", tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Payload(mark), protocol=protocol))
    with pytest.raises(CheckpointError, match="is a pickle.*can run any code.*refused" if protocol >= 2 else None):
        read(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have been


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_refused_and_not_run(zipped, tmp_path):
    mark = tmp_path / "run"
    for name, contents in (("weights", net().state_dict()), ("evil", {"a": Payload(mark)})):
        path = tmp_path / f"{name}.safetensors"
        torch.save(contents, path, _use_new_zipfile_serialization=zipped)
        model = net(seed=1)
        before = snapshot(model)
        with pytest.raises(CheckpointError, match=r"is a pickle.*`save_model`, or as safetensors"):
            load_model(model, path)
        assert_same(before, model)
    assert not mark.exists()


def test_learner_refuses_a_pickle_and_stays_usable(tmp_path):
    learn = learner(tmp_path)
    (tmp_path / "models").mkdir(exist_ok=True)
    torch.save(learn.model.state_dict(), tmp_path / "models" / "old.safetensors")
    with pytest.raises(CheckpointError, match="pickle"):
        learn.load("old")
    learn.fit(0.1, 1)


# ---------------------------------------------------------------- weights from elsewhere


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
def test_weights_of_other_programs_are_read(zipped, wrap, tmp_path):
    state = net().state_dict()
    path = tmp_path / "w.pth"
    torch.save({wrap: state, "epoch": 3} if wrap else state, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_weights(path), dict(state))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (lambda mark: {"a": Payload(mark)}, "could run code when loaded, so it is refused.*as .safetensors"),
        (lambda mark: [torch.zeros(2)], r"must hold a dict of tensors \(a state_dict\); it holds list"),
        (lambda mark: {"a": 3}, "must hold a dict of tensors"),
    ],
)
def test_other_files_of_other_programs_are_refused(contents, words, tmp_path):
    mark, path = tmp_path / "run", tmp_path / "w.pth"
    torch.save(contents(mark), path)
    with pytest.raises(CheckpointError, match=words):
        read_weights(path)
    assert not mark.exists()


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin"])
def test_one_kind_of_file_is_read_by_one_rule_everywhere(ending, tmp_path):
    """PyTorch's own files of tensors only: by `pretrained(weights=)`, `load_model`, `learn.load`."""
    (tmp_path / "models").mkdir(exist_ok=True)
    source, path = net(seed=3), tmp_path / "models" / f"w{ending}"
    torch.save({"state_dict": source.state_dict()}, path)
    target = net(seed=4)
    load_model(target, path)
    assert_same(target, source)
    assert read_meta(path) == {}
    learn = learner(tmp_path)
    learn.load(f"w{ending}")
    assert_same(learn.model, source)
    learn.load(path)
    with pytest.raises(CheckpointError, match="another architecture"):
        load_model(nn.Linear(2, 2), path)
    # A file of ours is found by its name without the ending, by each of them.
    saved = save_model(source, tmp_path / "ours")
    for name in (saved, saved.with_suffix("")):
        found = read_weights(name)
        assert_same({key: found[key] for key in source.state_dict()}, dict(source.state_dict()))
    load_model(target, tmp_path / "ours")
    # What would have to be executed stays refused.
    mark = tmp_path / "run"
    torch.save({"a": Payload(mark)}, tmp_path / f"evil{ending}")
    for read in (
        read_weights,
        read_meta,
        lambda file: load_model(net(), file),
        lambda file: learner(tmp_path).load(file),
    ):
        with pytest.raises(CheckpointError, match="could run code"):
            read(tmp_path / f"evil{ending}")
    assert not mark.exists()
    save_model(source, tmp_path / f"evil{ending}")  # beside the other: which of them is meant cannot be told
    with pytest.raises(CheckpointError, match="is no safetensors file, and nothing else is loaded"):
        load_model(target, tmp_path / f"evil{ending}")


def test_tied_weights_are_read_whole_by_every_reader(tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    state = read_weights(save_model(tied, tmp_path / "tied"))
    assert set(state) == set(tied.state_dict())


@pytest.mark.parametrize("n", [0, 1, 50, 500, -1])
def test_truncated_files_of_other_programs_are_refused(n, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:n])
    with pytest.raises(CheckpointError):
        read_weights(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        read_weights(tmp_path / "none.pth")


# ---------------------------------------------------------------- layers whose size is not known yet


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 2))


def test_weights_load_into_lazy_layers_and_cannot_be_saved_before_there_are_any(tmp_path):
    with pytest.raises(CheckpointError, match="no weights yet, so there is nothing to save: run a batch"):
        save_model(lazy(), tmp_path / "a")
    model = lazy()
    model(torch.randn(3, 5))
    path, other = save_model(model, tmp_path / "a"), lazy()
    load_model(other, path)
    assert_same(model, other)
    weights, state = model_state(model)
    again = lazy()
    load_model_state(again, weights, state, "a")
    assert_same(model, again)
    x = torch.randn(3, 5)
    assert torch.equal(model.eval()(x), again.eval()(x))
    with pytest.raises(CheckpointError, match="0.weight: only in the model, of any size"):
        load_model(lazy(), save_model(nn.Linear(3, 3), tmp_path / "b"))
