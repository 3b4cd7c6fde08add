"""learnkit in environments that hold nothing else: a wheel of it, and each extra alone.

python .ci/fresh.py wheel     the wheel of what git holds, installed and tried out (.ci/smoke.py)
python .ci/fresh.py extras    each extra resolved and imported alone; prints a table (minutes and gigabytes each)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What each extra is for, said in code: what must import, and what learnkit does with it.
PROBES = {
    "text": "from learnkit.text import Field; assert Field().preprocess(\"It's one.\") == ['it', \"'s\", 'one', '.']",
    "timm": "from learnkit.vision import ConvLearner; import timm; timm.create_model('tf_efficientnet_lite0')",
    "tensorboard": "from learnkit import TensorBoardLog; TensorBoardLog('runs'); import torch.utils.tensorboard",
    "serve": "import learnkit.serve; learnkit.serve.app; import onnx, onnxruntime, onnxscript, uvicorn",
    "bench": "import fastai.vision.all, fastai.tabular.all, fastai.text.all, learnkit",
    "all": "import timm, spacy, onnx, learnkit.vision, learnkit.text",
}


def environment(folder: Path) -> Path:
    """Make an empty environment and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--upgrade", "pip"], check=True)
    return python


def build(folder: Path) -> Path:
    """Build a wheel of the last commit, so that what is not in git is not in it."""
    source = folder / "source"
    source.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], input=archive, cwd=source, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def outside() -> dict[str, str]:
    """Return the settings of a process that does not see this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def try_wheel(constraint: str | None) -> int:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        python = environment(folder / "env")
        limits = ["--constraint", str(Path(constraint).resolve())] if constraint else []
        subprocess.run([python, "-m", "pip", "install", "--quiet", *limits, str(wheel)], check=True)
        status = subprocess.run([python, ROOT / ".ci" / "smoke.py"], cwd=folder, env=outside()).returncode
    print(f"{wheel.name}: {'works' if status == 0 else 'fails'} ({time.perf_counter() - started:.0f} s)")
    return status


def try_extras() -> int:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    if set(extras) != set(PROBES):
        sys.exit(f"pyproject.toml has the extras {sorted(extras)}, and there are probes for {sorted(PROBES)}.")
    print("| extra | installs | imports | size | seconds |\n|---|---|---|---|---|")
    failed = 0
    for extra, probe in PROBES.items():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            wheel = build(folder)
            python = environment(folder / "env")
            installed = subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[{extra}]"]).returncode == 0
            imports = installed and subprocess.run([python, "-c", probe], cwd=folder, env=outside()).returncode == 0
            size = sum(file.lstat().st_size for file in (folder / "env").rglob("*")) / 1e9
        failed += not imports
        words = ["yes" if ok else "**no**" for ok in (installed, imports)]
        print(
            f"| {extra} | {words[0]} | {words[1]} | {size:.1f} GB | {time.perf_counter() - started:.0f} |", flush=True
        )
    return min(failed, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["wheel", "extras"])
    parser.add_argument("--constraint", help="file of versions to keep to, for the wheel")
    args = parser.parse_args()
    return try_wheel(args.constraint) if args.what == "wheel" else try_extras()


if __name__ == "__main__":
    sys.exit(main())
