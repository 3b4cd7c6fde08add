import json
import os
import platform
import subprocess
import sys
import warnings

import pytest
import torch

from learnkit.core import precision
from learnkit.core.precision import BFloat16, autocast_for, bfloat16_on

CPU = torch.device("cpu")


def answer(monkeypatch: pytest.MonkeyPatch, found: BFloat16) -> None:
    monkeypatch.setattr(precision, "bfloat16_on", lambda device: found)


def test_fp32_is_no_context_at_all():
    with autocast_for("fp32", CPU)():
        assert not torch.is_autocast_enabled("cpu")


def test_bf16_is_used_without_a_word_where_it_works(monkeypatch):
    answer(monkeypatch, BFloat16(True, slowdown=0.5))
    with autocast_for("bf16", CPU)():
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.bfloat16


def test_bf16_without_instructions_of_its_own_is_used_and_said(monkeypatch):
    answer(monkeypatch, BFloat16(True, slowdown=2.44))
    with pytest.warns(UserWarning, match=r'no bf16 instructions.*2\.4 times.*precision="fp32"'):
        assert autocast_for("bf16", CPU).dtype == torch.bfloat16


def test_bf16_that_lacks_a_kernel_becomes_fp32_and_is_said(monkeypatch):
    answer(monkeypatch, BFloat16(False, "an LSTM fails: no such primitive"))
    with pytest.warns(UserWarning, match=r"cpu.*cannot do bf16 .*LSTM fails: no such primitive.*fp32 is used"):
        assert autocast_for("bf16", CPU).dtype is None


@pytest.mark.parametrize(
    ("found", "advised"),
    [(BFloat16(True, slowdown=0.5), True), (BFloat16(True, slowdown=9), False), (BFloat16(False), False)],
)
def test_fp16_on_a_cpu_becomes_fp32_and_bf16_is_advised_only_where_it_is_fast(monkeypatch, found, advised):
    answer(monkeypatch, found)
    with pytest.warns(UserWarning, match="fp16.*fp32") as caught:
        assert autocast_for("fp16", CPU).dtype is None
    assert ('precision="bf16"' in str(caught[0].message)) is advised


def test_it_is_said_once_whoever_asks(monkeypatch):
    answer(monkeypatch, BFloat16(False, "it has none"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            autocast_for("bf16", CPU)
    assert len(caught) == 1


def test_a_missing_kernel_of_any_layer_is_found(monkeypatch):
    def missing(device):
        raise RuntimeError("could not create a primitive descriptor for it. Run with ONEDNN_VERBOSE=all.")

    for name in precision._KERNELS:
        monkeypatch.setattr(precision, "_KERNELS", precision._KERNELS | {name: missing})
        found = bfloat16_on.__wrapped__(CPU)
        assert (found.works, found.lacks) == (False, f"{name} fails: could not create a primitive descriptor for it")
        monkeypatch.undo()


def test_memory_that_runs_out_says_nothing_about_a_kernel(monkeypatch):
    def full(device):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(precision, "_KERNELS", {"a matrix product": full})
    with pytest.raises(torch.OutOfMemoryError):
        bfloat16_on.__wrapped__(CPU)


def test_asking_draws_no_random_number_and_answers_from_any_mode():
    before = torch.get_rng_state()
    found = []
    with torch.no_grad():
        found.append(bfloat16_on.__wrapped__(CPU).works)
    with torch.inference_mode():
        found.append(bfloat16_on.__wrapped__(CPU).works)
    assert found[0] == found[1] == bfloat16_on(CPU).works
    assert torch.equal(before, torch.get_rng_state())


TRAIN = """
import json, warnings
import torch
from learnkit import DataBunch, Learner
from learnkit.core.precision import bfloat16_on

torch.set_num_threads(1)
warnings.simplefilter("default")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lstm = torch.nn.Conv1d(4, 6, 3), torch.nn.LSTM(6, 5, 2)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.lstm(self.conv(x).permute(2, 0, 1))[0][-1])


def train(precision):
    torch.manual_seed(0)
    batches = [(torch.randn(8, 4, 9), torch.randint(3, (8,))) for _ in range(3)]
    learn = Learner(DataBunch(".", batches, batches), Net(), crit=torch.nn.functional.cross_entropy, precision=precision)
    learn.fit(0.01, 2)
    learn.predict()
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()])


with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("default")
    difference = float((train("bf16") - train("fp32")).abs().max())
print(json.dumps([bfloat16_on(torch.device("cpu")).works, difference, [str(w.message) for w in said]]))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the setting is of x86")
def test_a_recurrent_net_trains_in_bf16_on_a_cpu_that_has_no_such_kernel(tmp_path):
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "LEARNKIT_PROGRESS": "0", "LEARNKIT_DEVICE": "cpu"}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    works, difference, said = json.loads(done.stdout.splitlines()[-1])
    assert not works
    assert difference == 0.0
    assert len(said) == 1
    assert "fp32 is used" in said[0]
