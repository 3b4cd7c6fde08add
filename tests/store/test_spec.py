"""A model as data: every `ModelSpec` of ours builds, of what a file holds of it, the model that was described."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import learnkit
from learnkit import CheckpointError, DataError, Learner, ModelSpec, load_learner
from learnkit.collab import EmbeddingDot, EmbeddingDotBias, EmbeddingNet, EmbeddingSpec
from learnkit.store.archive import read_archive, write_archive
from learnkit.tabular import TableSpec
from learnkit.text import ClassifierSpec, EncoderSettings, LanguageModelSpec
from learnkit.vision import ConvSpec
from tests.train.helpers import assert_same, items, learner

ENCODER = EncoderSettings("lstm", 8, 16, 2, 0.05, 0.05, 0.1, 0.02, 0.05)
ROWS = torch.tensor([[1, 0], [3, 2]]), torch.randn(2, 2, generator=torch.Generator().manual_seed(0))
PAIRS = torch.tensor([1, 2]), torch.tensor([3, 0])
TEXTS = (torch.tensor([[2, 3], [4, 5], [6, 1]]),)
PICTURES = (torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)),)


def ratings(model: nn.Module) -> EmbeddingSpec:
    spec = EmbeddingSpec.of(model)
    assert spec is not None
    return spec


SPECS: dict[str, tuple[ModelSpec, tuple[Tensor, ...]]] = {
    "pictures": (ConvSpec("squeezenet1_1", 3, [0.2, 0.4], [16]), PICTURES),
    "pictures, one layer": (ConvSpec("squeezenet1_1", 3, [0.5], []), PICTURES),
    "pictures, its own classifier": (ConvSpec("squeezenet1_1", head=False), PICTURES),
    "table": (TableSpec("mlp", [(4, 2), (3, 2)], 2, 0.1, 1, [6, 4], [0.1, 0.2], [0.0, 9.0], use_bn=True), ROWS),
    "table, bins": (TableSpec("ple", [(4, 2), (3, 2)], 2, 0.1, 3, [6], [0.3], None, use_bn=False, n_edges=5), ROWS),
    "ratings, dot": (ratings(EmbeddingDot(3, 4, 5)), PAIRS),
    "ratings, dot and bias": (ratings(EmbeddingDotBias(3, 4, 5, y_range=(1, 5))), PAIRS),
    "ratings, net": (ratings(EmbeddingNet(3, 4, 5)), PAIRS),
    **{f"stream, {arch}": (LanguageModelSpec(9, replace(ENCODER, arch=arch)), TEXTS) for arch in ("lstm", "gru")},
    "stream, transformer": (LanguageModelSpec(9, replace(ENCODER, arch="transformer"), tie_weights=False), TEXTS),
    "texts": (ClassifierSpec(9, ENCODER, 2, 20, 10, 7, (0.4, 0.1)), TEXTS),
    "texts, transformer": (
        ClassifierSpec(9, replace(ENCODER, arch="transformer"), 2, 20, 10, 7, (0.4, 0.1)),
        TEXTS,
    ),
}


@dataclass(frozen=True)
class Line(ModelSpec):
    """A model of the user's own."""

    n: int
    c: int

    def build(self) -> nn.Module:
        return nn.Linear(self.n, self.c)


def test_every_exported_spec_is_looked_at() -> None:
    packages = [
        learnkit,
        *(importlib.import_module(f"learnkit.{p.name}") for p in pkgutil.iter_modules(learnkit.__path__) if p.ispkg),
    ]
    exported = [getattr(package, name) for package in packages for name in getattr(package, "__all__", ())]
    ours = {x for x in exported if isinstance(x, type) and issubclass(x, ModelSpec)} - {ModelSpec}
    assert ours == {type(spec) for spec, _ in SPECS.values()}


def flat(out: Any) -> list[Tensor]:
    return [out] if isinstance(out, Tensor) else [x for part in out for x in flat(part)]


@pytest.mark.parametrize("name", SPECS)
def test_what_a_file_holds_of_it_builds_the_same_model(name: str, tmp_path: Path) -> None:
    spec, inputs = SPECS[name]
    file = write_archive(tmp_path / "spec", "spec", {}, spec.to_data())
    again = type(spec).from_data(read_archive(file, "spec").state)
    assert again == spec
    assert again.to_data() == spec.to_data()
    torch.manual_seed(1)
    one = spec.build().eval()
    torch.manual_seed(1)
    other = again.build().eval()
    assert one is not other
    assert_same(one, other)
    for module in (one, other):
        getattr(module, "reset", int)()  # a model of text forgets
    with torch.no_grad():
        for a, b in zip(flat(one(*inputs)), flat(other(*inputs)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", SPECS)
def test_it_builds_on_a_device_without_memory(name: str) -> None:
    """A file can claim any size, so its layers are looked at before memory is taken."""
    spec, _ = SPECS[name]
    with torch.device("meta"):
        draft = spec.build()
    assert {n: x.shape for n, x in draft.state_dict().items()} == {
        n: x.shape for n, x in spec.build().state_dict().items()
    }


@pytest.mark.parametrize("name", SPECS)
def test_what_it_does_not_know_is_named(name: str) -> None:
    spec, _ = SPECS[name]
    with pytest.raises(ValueError, match=f"{type(spec).__name__} has no heads, width"):
        type(spec).from_data({**spec.to_data(), "width": 3, "heads": 8})


def test_what_there_is_none_of_is_named() -> None:
    with pytest.raises(ValueError, match="EmbeddingDotBias.*'Nothing'"):
        EmbeddingSpec.from_data({"kind": "Nothing", "arguments": {}})
    with pytest.raises(ValueError, match="`arch`.*mlp.*'forest'"):
        TableSpec.from_data({**SPECS["table"][0].to_data(), "arch": "forest"})
    with pytest.raises(ValueError, match="`arch`.*lstm.*'rnn'"):
        LanguageModelSpec.from_data(
            {**SPECS["stream, gru"][0].to_data(), "encoder": {**ENCODER.to_dict(), "arch": "rnn"}}
        )
    with pytest.raises(DataError, match="an encoder is described by arch,.*got arch"):
        ClassifierSpec.from_data({**SPECS["texts"][0].to_data(), "encoder": {"arch": "lstm"}})
    with pytest.raises(ValueError, match="nothing_18"):
        ConvSpec("nothing_18", 2).build()
    with pytest.raises(ValueError, match="number of scores, `c`"):
        ConvSpec("resnet18").build()


def test_a_model_of_the_users_own_has_no_spec_of_ours() -> None:
    class Own(EmbeddingDot):
        """A kind that files of learnkit's do not know."""

    assert EmbeddingSpec.of(Own(3, 4, 5)) is None
    assert EmbeddingSpec.of(nn.Linear(3, 4)) is None


def test_the_spec_is_that_of_the_model_at_hand(tmp_path: Path) -> None:
    """Another model in its place was not made of it; the first one again was."""
    data = learner(tmp_path).data
    spec = Line(items(1)[0].shape[1], data.c)
    learn = Learner(data, spec)
    assert learn.spec is spec
    first, learn.model = learn.model, nn.Linear(spec.n, spec.c)
    assert learn.spec is None
    with pytest.raises(CheckpointError, match="pass `model=Linear"):
        load_learner(learn.export(tmp_path / "other"), model=None)
    learn.model = first
    assert learn.spec is spec
    assert load_learner(learn.export(tmp_path / "first"), model=Line).spec == spec
