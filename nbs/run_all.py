"""Execute every notebook from start to end: `python nbs/run_all.py [name ...] [--save]`.

A notebook that raises fails the run. With `--save` the outputs are written back, for readers of the repository.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent


def execute(path: Path, *, save: bool) -> bool:
    started = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}})
        try:
            client.execute()
        except CellExecutionError as exc:
            print(f"{path.name}: failed\n{exc}", file=sys.stderr)
            return False
    if save:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # timestamps would change with every run
            if cell.cell_type == "code":  # the progress bar is for those who wait, not for those who read
                cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
        nbformat.write(notebook, path)
    print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks without ending; all by default")
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    paths = [HERE / f"{name}.ipynb" for name in args.names] or sorted(HERE.glob("*.ipynb"))
    results = [execute(path, save=args.save) for path in paths]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
