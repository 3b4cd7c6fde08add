"""Architectures: cut before their classifier, split in three, loaded from files, given a head."""

import itertools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models as tv_models

from learnkit.core.errors import CheckpointError, LearnkitError
from learnkit.core.hooks import output_shape
from learnkit.core.layers import AdaptiveConcatPool2d, Flatten
from learnkit.datasets import efficientnet_lite0_weights, imagenet_photos
from learnkit.vision import imagenet_stats, open_image, tfms_from_model
from learnkit.vision.models import _load_pretrained, arch_stats, body_and_head_groups, conv_body, conv_head

TORCHVISION = [
    "resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "vgg11_bn",
    "squeezenet1_1", "shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5", "swin_t", "googlenet", "inception_v3",
    "alexnet",
]  # fmt: skip
TIMM = [
    "timm/tf_efficientnet_lite0", "timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet", "timm/lcnet_035",
    "timm/regnetx_002", "timm/resnet18",
]  # fmt: skip
LITE0 = "timm/tf_efficientnet_lite0"


@contextmanager
def shapes_only(name: str = "") -> Iterator[None]:
    """Build models without their weights, so that even large ones cost nothing."""
    # They compute their widths, and older versions of timm their drop rates, with tensors.
    needs_values = name.startswith(("regnet_y", "timm/test_convnext", "timm/test_vit", "timm/vit_tiny"))
    with torch.device("cpu" if needs_values else "meta"):
        yield


def ids(params: Any) -> list[int]:
    return [id(p) for p in params]


# ---------------------------------------------------------------- bodies and layer groups


@pytest.mark.parametrize("name", TORCHVISION + TIMM)
def test_every_architecture_gives_maps_and_three_groups_that_hold_each_parameter_once(name: str) -> None:
    with shapes_only(name):
        body = conv_body(name, False)
        shape = output_shape(body, (2, 3, 96, 96))
        model = nn.Sequential(body, conv_head(shape[1], 5))
    assert len(shape) == 4
    assert shape[0] == 2
    groups = body_and_head_groups(model)
    assert len(groups) == 3
    grouped = [ids(p for module in group for p in module.parameters()) for group in groups]
    assert all(grouped)
    assert sorted(itertools.chain.from_iterable(grouped)) == sorted(ids(model.parameters()))
    assert grouped[2] == ids(model[1].parameters())
    assert grouped[0] + grouped[1] == ids(body.parameters())  # early layers before late ones


@pytest.mark.parametrize(
    "arch", [tv_models.resnet18, "resnet18", lambda: tv_models.resnet18(), "timm/resnet18"], ids=str
)
def test_an_architecture_may_be_a_constructor_a_name_or_any_callable(arch: Any) -> None:
    with shapes_only():
        assert output_shape(conv_body(arch, False), (1, 3, 64, 64)) == (1, 512, 2, 2)


def test_a_body_is_the_model_it_was_cut_from() -> None:
    model = tv_models.resnet18(weights=None).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole = model(x)
        body = conv_body(model).eval()
        assert torch.equal(model.fc(body(x).mean((2, 3))), whole)


def test_a_body_of_ones_own_is_taken_as_it_is() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3))
    assert conv_body(body) is body
    groups = body_and_head_groups(nn.Sequential(body, nn.Linear(1, 1)))
    assert [[type(m) for m in group] for group in groups] == [[nn.Conv2d, nn.BatchNorm2d], [nn.Conv2d], [nn.Linear]]


def test_batch_norms_that_hardly_move_are_sped_up() -> None:
    body = nn.Sequential(*(nn.BatchNorm2d(3, momentum=m) for m in (0.01, 0.3, None)))
    conv_body(body)
    assert [norm.momentum for norm in body] == [0.1, 0.3, None]


@pytest.mark.parametrize("name", ["vit_b_16", "timm/test_vit", "timm/vit_tiny_patch16_224", "timm/efficientvit_b0"])
def test_what_has_no_maps_is_refused_with_a_way_out(name: str) -> None:
    message = f"{name} .*Choose a convolutional architecture, or pass a body of your own.*ConvLearner.pretrained"
    with shapes_only(name), pytest.raises(LearnkitError, match=message):
        conv_body(name, False)


@pytest.mark.parametrize("name", ["fcn_resnet50", "fasterrcnn_resnet50_fpn"])
def test_segmentation_and_detection_are_refused_without_a_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda url, **options: asked.append(url))
    with shapes_only(), pytest.raises((LearnkitError, ValueError), match=name):
        conv_body(name, False)
    assert asked == []


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("resnet3", "resnet34"),
        ("timm/resnet3", "resnet34"),
        ("resnet43", "resnet34"),
        ("efficentnet_b0", "efficientnet_b0"),
    ],
)
def test_an_unknown_name_is_answered_with_similar_ones(name: str, suggestion: str) -> None:
    with pytest.raises(ValueError, match=f"no architecture '{name}', neither in torchvision nor in timm.*{suggestion}"):
        conv_body(name, False)


@pytest.mark.parametrize("arch", [3, None, lambda: "a model"], ids=str)
def test_what_is_no_architecture_is_refused(arch: Any) -> None:
    with pytest.raises(TypeError, match="`arch` must be a torchvision constructor, a name or an nn.Module"):
        conv_body(arch, False)


def test_statistics_are_the_architectures_own() -> None:
    assert arch_stats("resnet18") == arch_stats(tv_models.resnet18) == imagenet_stats
    assert arch_stats("timm/tf_efficientnet_lite0").std == (0.5, 0.5, 0.5)
    with torch.device("meta"):
        assert arch_stats(timm.create_model("tf_efficientnet_lite0")).mean == (0.5, 0.5, 0.5)
    assert arch_stats(nn.Linear(1, 1)) == imagenet_stats


# ---------------------------------------------------------------- default weights


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18"])
def test_without_a_network_the_error_says_how_to_pass_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", offline)
    message = rf"weights of {name} could not be downloaded \(OSError: Name.*weights='path/to/file.pth'.*weights=False"
    with shapes_only(), pytest.raises(LearnkitError, match=message):
        conv_body(name)


def pretend_downloads(monkeypatch: pytest.MonkeyPatch, make: Callable[[], nn.Module]) -> None:
    """Let torchvision 'download' the weights of a model made here."""
    state = make().state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda self, *args, **kwargs: dict(state))


def with_aux(name: str) -> nn.Module:
    options = {"init_weights": False, "transform_input": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = tv_models.get_model(name, weights=None, **options)
    return model


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v3_small", "googlenet", "inception_v3"])
def test_default_weights_load_and_give_the_same_body_as_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with shapes_only():
        pretend_downloads(monkeypatch, lambda: with_aux(name))
        loaded, random = conv_body(name), conv_body(name, False)
    assert [p.shape for p in loaded.parameters()] == [p.shape for p in random.parameters()]


def test_googlenet_sees_pictures_as_it_did_when_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    original = with_aux("googlenet").eval()
    pretend_downloads(monkeypatch, lambda: original)
    body = conv_body("googlenet").eval()
    pixels = torch.rand(1, 3, 64, 64)

    def normalised(stats: Any) -> Tensor:
        return (pixels - torch.tensor(stats.mean)[:, None, None]) / torch.tensor(stats.std)[:, None, None]

    kept: list[Tensor] = []
    original.inception5b.register_forward_hook(lambda m, x, out: kept.append(out))  # type: ignore[union-attr]
    with torch.no_grad():
        original(normalised(imagenet_stats))  # as torchvision's own preset prepares them
        ours = body(normalised(arch_stats("googlenet")))
    assert (ours - kept[0]).norm() < 1e-3 * kept[0].norm()


# ---------------------------------------------------------------- weights from files


class Small(nn.Module):
    """Three layers, the last a classifier."""

    def __init__(self, c: int = 10, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.fc = nn.Linear(width, c)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.flat(self.pool(self.norm(self.conv(x)))))
        return out


def body_equals(body: nn.Module, source: nn.Module) -> bool:
    wanted = [x for name, x in source.state_dict().items() if not name.startswith("fc")]
    return all(torch.equal(a, b) for a, b in zip(body.state_dict().values(), wanted, strict=True))


def stored(source: nn.Module, path: Path, change: Callable[[dict[str, Tensor]], Any] = dict) -> Path:
    torch.save(change(dict(source.state_dict())), path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: dict(reversed(state.items())),
        lambda state: {name: x for name, x in state.items() if not name.startswith("fc")},
        lambda state: state | {"fc.weight": torch.zeros(7, 4), "fc.bias": torch.zeros(7)},
        lambda state: state | {"aux.weight": torch.zeros(1)},
        lambda state: {f"module.{name}": x for name, x in state.items()},
        lambda state: {name: x for name, x in state.items() if "num_batches_tracked" not in name},
    ],
    ids=[
        "by name", "state_dict", "model", "any order", "no classifier", "other classes", "more layers",
        "by position", "no batch counts, as before 2018",
    ],
)  # fmt: skip
def test_weights_are_found_by_name_or_by_position(tmp_path: Path, change: Callable[..., Any]) -> None:
    source = Small()
    nn.init.normal_(source.norm.running_mean)  # type: ignore[arg-type]
    body = conv_body(Small(), stored(source, tmp_path / "w.pth", change))
    assert body_equals(body, source)


def test_a_linear_layer_inside_a_body_is_loaded_too(tmp_path: Path) -> None:
    class Gate(nn.Module):
        """Squeeze and excitation: the last linear layer of this body is no classifier."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.excite = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            maps: Tensor = self.conv(x)
            gates: Tensor = self.excite(maps.mean((2, 3))).sigmoid()
            return maps * gates[..., None, None]

    source = nn.Sequential(Gate(), nn.Conv2d(4, 6, 3))
    body = conv_body(nn.Sequential(Gate(), nn.Conv2d(4, 6, 3)), stored(source, tmp_path / "w.pth"))
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), source.parameters(), strict=True))


def test_safetensors_files_are_read_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = Small()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    assert body_equals(conv_body(Small(), tmp_path / "w.safetensors"), source)


def test_the_file_that_torchvision_downloads_can_be_passed_for_a_densenet(tmp_path: Path) -> None:
    """It has the names of 2017, `norm.1` for `norm1`, which torchvision rewrites as it loads them."""
    source = tv_models.DenseNet(block_config=(1, 1, 1, 1), num_init_features=8, growth_rate=4)

    def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = {"norm1": "norm.1", "norm2": "norm.2", "conv1": "conv.1", "conv2": "conv.2"}
        renamed = {}
        for name, x in state.items():
            if "num_batches_tracked" in name:
                continue
            layer = [parts.get(part, part) if "denselayer" in name else part for part in name.split(".")]
            renamed[".".join(layer)] = x
        return renamed

    target = tv_models.DenseNet(block_config=(1, 1, 1, 1), num_init_features=8, growth_rate=4)
    body = conv_body(target, stored(source, tmp_path / "densenet.pth", old_names))
    assert torch.equal(next(body.parameters()), next(source.parameters()))


def test_a_file_for_another_architecture_names_the_layers_and_changes_nothing(tmp_path: Path) -> None:
    model = Small()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    other = stored(Small(width=8), tmp_path / "wide.pth")
    with pytest.raises(
        CheckpointError,
        match=r"wide.pth does not fit Small: 0 of 8 layers are missing .*conv.weight: \(4, 3, 3, 3\) in the model, "
        r"\(8, 3, 3, 3\) in the file",
    ):
        conv_body(model, other)
    linear = stored(nn.Linear(2, 2), tmp_path / "linear.pth")
    with pytest.raises(CheckpointError, match=r"8 of 8 layers are missing \(conv.weight, conv.bias, .*2 tensors"):
        conv_body(model, linear)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


class Payload:
    """What a malicious file holds: unpickling it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.mark, "executed")


@pytest.mark.parametrize("how", ["torch", "torch, old format", "pickle"])
@pytest.mark.filterwarnings("ignore")
def test_a_pickle_is_refused_and_its_payload_does_not_run(tmp_path: Path, how: str) -> None:
    mark, file = tmp_path / "mark", tmp_path / "evil.pth"
    content = {"conv.weight": torch.zeros(1), "x": Payload(mark)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(CheckpointError, match=r"evil.pth .*(could run code|cannot be read)"):
        conv_body(Small(), file)
    assert not mark.exists()
    torch.load(file, weights_only=False) if how != "pickle" else pickle.loads(file.read_bytes())
    assert mark.exists()  # the payload is live: only the loader kept it from running


@pytest.mark.parametrize("content", [b"", b"not weights at all", None, [1, 2]], ids=["empty", "text", "cut", "list"])
def test_damaged_and_foreign_files_are_named(tmp_path: Path, content: Any) -> None:
    file = stored(Small(), tmp_path / "w.pth")
    if content is None:
        file.write_bytes(file.read_bytes()[:-200])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"w.pth (cannot be read|holds objects|must hold a dict of tensors)"):
        conv_body(Small(), file)


def test_a_missing_file_is_answered_with_what_its_folder_holds(tmp_path: Path) -> None:
    stored(Small(), tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"no file .*resnett.pth. Its folder holds: resnet.pth"):
        conv_body(Small(), tmp_path / "resnett.pth")


# ---------------------------------------------------------------- real weights on real photos


def test_efficientnet_lite0_recognises_imagenet_photos() -> None:
    # The package's file goes into timm's `tf_efficientnet_lite0` by position, classifier included.
    model = timm.create_model("tf_efficientnet_lite0").eval()
    _load_pretrained(model, efficientnet_lite0_weights())
    files, labels = imagenet_photos()
    _, val_tfms = tfms_from_model(LITE0, 224)
    with torch.no_grad():
        scores = model(torch.from_numpy(np.stack([val_tfms(open_image(file)) for file in files])))
    assert (scores.argmax(1).numpy() == labels).sum() >= 17


# ---------------------------------------------------------------- heads


def linears(head: nn.Module) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in head.modules() if isinstance(m, nn.Linear)]


def dropouts(head: nn.Module) -> list[float]:
    return [m.p for m in head.modules() if isinstance(m, nn.Dropout)]


@pytest.mark.parametrize(
    ("arguments", "sizes", "drops"),
    [
        ({}, [(16, 512), (512, 3)], [0.25, 0.5]),
        ({"ps": 0.8, "xtra_fc": [20, 10]}, [(16, 20), (20, 10), (10, 3)], [0.8, 0.8, 0.8]),
        ({"ps": [0.1, 0.2], "xtra_fc": [20]}, [(16, 20), (20, 3)], [0.1, 0.2]),
        ({"xtra_fc": []}, [(16, 3)], [0.5]),
        ({"ps": 0, "xtra_fc": [4]}, [(16, 4), (4, 3)], []),
    ],
)
def test_head_sizes_and_dropout(arguments: dict[str, Any], sizes: list[Any], drops: list[float]) -> None:
    head = conv_head(8, 3, **arguments)
    assert (linears(head), dropouts(head)) == (sizes, drops)
    assert head(torch.randn(2, 8, 5, 3)).shape == (2, 3)
    assert [type(m) for m in head[:3]] == [AdaptiveConcatPool2d, Flatten, nn.BatchNorm1d]
    assert type(head[-1]) is nn.Linear  # raw scores: no activation after the last layer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ps": [0.1, 0.2, 0.3]}, r"`ps` must be one number, or 2 for 1 hidden layers"),
        ({"ps": [0.1], "xtra_fc": [5]}, r"or 2 for 1 hidden layers and the last one; got \[0.1\]"),
        ({"ps": 1.5}, r"dropout shares in \[0, 1\); got 1.5"),
        ({"ps": [-0.1, 0.5]}, r"dropout shares in \[0, 1\)"),
    ],
)
def test_dropout_that_does_not_fit_is_explained(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv_head(8, 3, **arguments)
