"""The command `learnkit`: `serve` puts models behind a URL, `predict` goes through a whole file."""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import learnkit.serve
from learnkit.core.errors import LearnkitError, check_positive, optional_import
from learnkit.core.version import __version__
from learnkit.runtime.model import load
from learnkit.serve.batch import predict_file
from learnkit.serve.limits import Limits

__all__ = ["main"]

KEY = "LEARNKIT_API_KEY"
"""The environment variable that holds the key."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0, or 2 for what the user can put right.
    """
    parser = argparse.ArgumentParser(prog="learnkit", description="Use models that learnkit exported.")
    parser.add_argument("--version", action="version", version=f"learnkit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_predict(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        again = " The same command goes on where it was." if options.run is _predict else ""
        print(f"learnkit: stopped.{again}", file=sys.stderr)
        return 130
    except (LearnkitError, OSError, ValueError) as exc:
        print(f"learnkit: {exc}", file=sys.stderr)
        return 2
    return 0


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    limits = Limits()
    command = commands.add_parser(
        "serve",
        help="answer over HTTP",
        description="Put models behind a URL: POST /predict, a page to try them at /, /docs, /metrics.",
        epilog=f"A key to be asked for is read from --api-key-file or the environment's {KEY}, and what PUT /variants asks for "
        "from LEARNKIT_ADMIN_TOKEN.",
    )
    command.set_defaults(run=_serve)
    command.add_argument(
        "models", nargs="+", type=Path, metavar="model.onnx", help="served under its name; the first by default"
    )
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: this machine alone)"
    )
    command.add_argument("--port", type=int, default=8000)
    command.add_argument(
        "--shares",
        metavar="a=0.9,b=0.1",
        help="of the requests that name no model, by the models' names (default: all to the first)",
    )
    command.add_argument("--api-key-file", type=Path, metavar="FILE", help="holds the key that requests must send")
    command.add_argument(
        "--cors-origin",
        action="append",
        metavar="ORIGIN",
        help="whose pages may ask, e.g. https://example.org; may be repeated",
    )
    command.add_argument("--max-batch", type=int, default=limits.max_batch, metavar="N", help="instances run at once")
    command.add_argument(
        "--max-wait-ms",
        type=float,
        default=limits.max_wait_ms,
        metavar="MS",
        help="to wait for a request that is being read",
    )
    command.add_argument("--max-body-bytes", type=int, default=limits.body_bytes, metavar="N", help="of one request")
    command.add_argument("--max-rows", type=int, default=limits.rows, metavar="N", help="instances in one request")
    command.add_argument("--max-pixels", type=int, default=limits.pixels, metavar="N", help="of one picture")
    command.add_argument("--queue", type=int, default=limits.queue, metavar="N", help="instances that may wait")
    command.add_argument("--timeout", type=float, default=limits.seconds, metavar="S", help="seconds for one request")
    command.add_argument("--threads", type=int, metavar="N", help="a model computes with (default: all cores but one)")
    command.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "predict",
        help="predict a whole file or folder",
        description="Predict every row of a file, or every picture of a folder. A job that was killed goes on when it is started again.",
    )
    command.set_defaults(run=_predict)
    command.add_argument("model", type=Path, metavar="model.onnx")
    command.add_argument("source", type=Path, metavar="INPUT", help="a .csv or .parquet file, or a folder of pictures")
    command.add_argument("output", type=Path, metavar="OUTPUT", help="a .csv or .parquet file")
    command.add_argument("--probabilities", action="store_true", help="write those of every class, too")
    command.add_argument("--column", default="text", help="where the text stands, for a model of texts (default: text)")
    command.add_argument("--piece", type=int, metavar="N", help="rows at a time")


def _predict(options: argparse.Namespace) -> None:
    if options.piece is not None:
        check_positive("--piece", options.piece)
    with Progress() as progress:
        report = predict_file(
            load(options.model),
            options.source,
            options.output,
            piece=options.piece,
            probabilities=options.probabilities,
            column=options.column,
            progress=progress,
        )
    for note, pieces in report.notes.most_common(5):
        print(f"learnkit: in {pieces:,} piece(s): {note}", file=sys.stderr)
    if report.n_bad:
        unread = options.output.with_name(f"{options.output.stem}.unread.csv")
        print(f"learnkit: {report.n_bad:,} row(s) could not be read; see {unread}", file=sys.stderr)
    before = f", {report.resumed:,} of them by a run before" if report.resumed else ""
    print(f"{report.n_rows:,} rows in {options.output}{before}")


class Progress:
    """A bar where tqdm is installed, a line now and then where it is not."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, done: int, total: int | None) -> None:
        """Show how many rows are done."""
        if self.bar is None and find_spec("tqdm") is not None:
            self.bar = optional_import("tqdm", extra="serve").tqdm(total=total, unit=" rows", initial=done)
        elif self.bar is not None:
            self.bar.update(done - self.bar.n)
        elif time.monotonic() >= self.next:
            self.next = time.monotonic() + 10
            print(f"{done:,}{'' if total is None else f' of {total:,}'} rows", file=sys.stderr)


def _serve(options: argparse.Namespace) -> None:
    models = {file.stem: file for file in options.models}
    if len(models) < len(options.models):
        raise ValueError("two models have one name; rename a file: they are served under their names.")
    limits = Limits(
        body_bytes=options.max_body_bytes,
        rows=options.max_rows,
        pixels=options.max_pixels,
        queue=options.queue,
        seconds=options.timeout,
        max_batch=options.max_batch,
        max_wait_ms=options.max_wait_ms,
    )
    application = learnkit.serve.app(
        models,
        shares=None if options.shares is None else _shares(options.shares),
        api_key=_api_key(options.api_key_file),
        cors_origin=options.cors_origin,
        limits=limits,
        threads=options.threads,
    )
    if not 0 <= options.port < 2**16:
        raise ValueError(f"`--port` must be between 0 and 65535; got {options.port}.")
    with socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((options.host, options.port))
        except OSError as exc:
            raise ValueError(
                f"{options.host}:{options.port} cannot be listened on ({exc}); choose another --port."
            ) from exc
    listen(application, limits, host=options.host, port=options.port, log_level=options.log_level)


def listen(application: Any, limits: Limits, *, host: str, port: int, log_level: str = "info") -> None:
    """Answer for an application until the process is told to end; then finish what was accepted.

    Parameters
    ----------
    application : FastAPI
    limits : Limits
        Its limits.
    host, port : str, int
        Where to listen; the port 0 is a free one.
    log_level : str
    """
    uvicorn = optional_import("uvicorn", extra="serve")
    gc.collect()
    gc.freeze()  # what is loaded now stays: looking through it again and again would make some requests wait for 40 ms
    uvicorn.run(
        application,
        host=host,
        port=port,
        http="h11",  # it ends an endless head of a request; the faster httptools collects it
        ws="none",
        log_level=log_level,
        access_log=log_level == "debug",  # a line for each request costs more than the model
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 5,
    )


def _shares(text: str) -> dict[str, float]:
    """Return the shares in `a=0.9,b=0.1`."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().rpartition("=")
        try:
            if name in shares or not name:
                raise ValueError
            shares[name] = float(share)
        except ValueError:
            raise ValueError(f"--shares must be like a=0.9,b=0.1, each name once; got {text!r:.80}.") from None
    return shares


def _api_key(file: Path | None) -> str | None:
    key = os.environ.get(KEY) if file is None else file.read_text().strip()
    if key == "":
        raise ValueError(f"the key in {KEY if file is None else file} is empty; leave it out to ask for none.")
    return key
