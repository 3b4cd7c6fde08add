"""From training to a program in C++: train on a table, compile the model, build `scores.cpp`, print the scores of some rows.

    python examples/cpp/compiled.py

Needs Linux with g++ (or the compiler that CXX names), and the data package that `learnkit.datasets.adult_frames` names.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from learnkit.datasets import adult_frames
from learnkit.tabular import ColumnarModelData, proc_df, train_cats

SOURCE = Path(__file__).with_name("scores.cpp")


def build(program: Path) -> Path:
    """Build `scores.cpp` with the headers and libraries of the PyTorch installed here."""
    torch_folder = Path(torch.__file__).parent
    includes, libraries = torch_folder / "include", torch_folder / "lib"
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = [os.environ.get("CXX", "g++"), "-std=c++20", abi, f"-I{includes}", str(SOURCE), "-o", str(program)]
    command += [f"-L{libraries}", f"-Wl,-rpath,{libraries}"]
    # What PyTorch's libraries need themselves they find on their own.
    command += [
        "-Wl,--unresolved-symbols=ignore-in-shared-libs",
        "-Wl,--no-as-needed",
        "-ltorch",
        "-ltorch_cpu",
        "-lc10",
    ]
    subprocess.run(command, check=True)
    return program


def scores(program: Path, model: Path, inputs: Sequence[Tensor]) -> list[list[float]]:
    """Return what the program prints for inputs, a row per item."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for i, x in enumerate(inputs):
            file = Path(folder, f"{i}.txt")
            file.write_text(" ".join(map(repr, x.flatten().tolist())))
            kind, shape = str(x.dtype).removeprefix("torch."), "x".join(map(str, x.shape))
            arguments.append(f"{kind}:{shape}:{file}")
        done = subprocess.run([program, model, *arguments], check=True, capture_output=True, text=True)
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()]


def main() -> None:
    """Run all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = adult_frames()[0].head(8000)
        cats = [str(name) for name in table if table[name].dtype.kind not in "if" and name != "income"]
        df, y, _, mapper = proc_df(train_cats(table, cats), "income")
        data = ColumnarModelData.from_data_frame(
            folder, range(7000, 8000), df, np.asarray(y), cat_flds=cats, is_reg=False, mapper=mapper
        )
        learn = data.get_learner(metrics="accuracy")
        learn.fit_one_cycle(3, 2e-3)
        model = learn.to_exported(folder / "income", aot=True)
        program = build(folder / "scores")
        rows = [x[:3] for x in data.some_items(3, is_val=True)[0]]
        print(f"torch {torch.__version__}, {program.name}: {program.stat().st_size / 1024:,.0f} KB")
        for row in scores(program, model, rows):
            print({label: round(score, 3) for label, score in zip(data.classes or [], row, strict=True)})


if __name__ == "__main__":
    main()
