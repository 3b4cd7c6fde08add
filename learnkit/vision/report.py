"""One self-contained HTML page about a trained classifier: figures, curves, confusion, the worst errors explained."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from learnkit.core.version import __version__
from learnkit.data.files import PathLike, atomic_path
from learnkit.train.learner import Learner
from learnkit.train.recorder import format_figure
from learnkit.vision.cam import ClassActivationMap

__all__ = ["write_report"]

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; } .row { display: flex; gap: 1rem; } .row img { flex: 1; min-width: 0; object-fit: contain; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
"""


def write_report(learn: Learner, path: PathLike, cam: Callable[[Any], ClassActivationMap], *, n_worst: int = 8) -> Path:
    """Write the page, with what `cam(items)` shows of the worst errors; see `ConvLearner.report`."""
    said = learn.interpret()
    parts = [f"<h1>{html.escape(type(learn.model[0]).__name__)} on {len(said.targs):,} validation pictures</h1>"]  # type: ignore[index]
    if learn.sched.epochs:
        parts += [_section("The latest fit"), _table(learn.sched.epochs)]
        parts.append(_figures(learn.sched.plot_loss(), learn.sched.plot_lr()))
    if learn.sched.lr_finding is not None:
        parts += [_section("Learning-rate finder"), _figures(learn.sched.plot())]
    if not said.is_multi:
        parts += [_section("Confusion"), _figures(said.plot_confusion_matrix())]
    parts += [_section("Per class"), f"<pre>{html.escape(said.report())}</pre>"]
    parts.append(_figures(said.plot_roc(), said.plot_precision_recall()))
    _, worst = said.top_losses(n_worst)
    rows = -(-len(worst) // 4)
    parts += [_section("Highest losses"), _figures(said.plot(worst, rows, (12, 3.2 * rows)))]
    try:
        maps = cam(worst)
        parts += ["<p>Where the predicted class was seen:</p>", _figures(maps.plot(rows))]
    except ValueError as exc:  # a model without feature maps
        parts.append(f"<p>No activation maps: {html.escape(str(exc))}</p>")
    parts += [_section("Settings"), _settings(learn)]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>learnkit report</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )
    target = Path(path)
    with atomic_path(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _section(title: str) -> str:
    return f"<h2>{html.escape(title)}</h2>"


def _table(rows: list[dict[str, float]]) -> str:
    names = list(rows[0])
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(name, row.get(name))}</td>' for name in names)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(name: str, value: float | None) -> str:
    if name == "time" and value is not None:
        return f"{value:.1f} s"
    return str(value) if isinstance(value, int) else format_figure(value)


def _figures(*drawings: Any) -> str:
    """Return figures (or the axes in them) side by side."""
    import matplotlib.pyplot as plt

    images = []
    for drawing in drawings:
        figure = getattr(drawing, "figure", drawing)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        plt.close(figure)
        images.append(f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">')
    return f'<p class="row">{"".join(images)}</p>' if len(images) > 1 else f"<p>{images[0]}</p>"


def _settings(learn: Learner) -> str:
    data: Any = learn.data
    settings = {
        "learnkit": __version__,
        "torch": torch.__version__,
        "device": learn.device,
        "parameters": f"{sum(p.numel() for p in learn.model.parameters()):,}",
        "trainable": f"{sum(p.numel() for p in learn.model.parameters() if p.requires_grad):,}",
        "batch size": getattr(data, "bs", ""),
        "training transforms": getattr(data.trn_ds, "tfm", ""),
        "validation transforms": getattr(data.val_ds, "tfm", ""),
        "precision": learn.precision,
        "accumulate": learn.accumulate,
        "clip": learn.clip,
    }
    rows = "".join(f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>" for name, value in settings.items())
    return f"<table>{rows}</table>"
