"""One self-contained HTML page about a trained classifier: figures, curves, confusion, the worst errors explained."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from learnkit.data.files import PathLike, atomic_path
from learnkit.train.recorder import format_figure

if TYPE_CHECKING:
    from learnkit.vision.learner import ConvLearner

__all__ = ["write_report"]

_STYLE = """
body { font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; }
img { max-width: 100%; } pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
"""


def write_report(learn: ConvLearner, path: PathLike, *, n_worst: int = 8) -> Path:
    """Write the page; see `ConvLearner.report`."""
    said = learn.interpret()
    parts = [f"<h1>{html.escape(type(learn.model[0]).__name__)} on {len(said.targs):,} validation pictures</h1>"]  # type: ignore[index]
    if learn.sched.epochs:
        parts += [_section("The latest fit"), _table(learn.sched.epochs)]
        parts += [_figure(learn.sched.plot_loss().figure), _figure(learn.sched.plot_lr().figure)]
    if learn.sched.lr_finding is not None:
        parts += [_section("Learning-rate finder"), _figure(learn.sched.plot().figure)]
    if not said.is_multi:
        parts += [_section("Confusion"), _figure(said.plot_confusion_matrix().figure)]
    parts += [_section("Per class"), f"<pre>{html.escape(said.report())}</pre>", _figure(said.plot_roc().figure)]
    _, worst = said.top_losses(n_worst)
    rows = -(-len(worst) // 4)
    parts += [_section("Highest losses"), _figure(said.plot(worst, rows, (12, 3.2 * rows)))]
    try:
        maps = learn.cam(worst)
        parts += ["<p>Where the predicted class was seen:</p>", _figure(maps.plot(rows))]
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
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: float | None) -> str:
    return str(value) if isinstance(value, int) else format_figure(value)


def _figure(figure: Any) -> str:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return f'<p><img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"></p>'


def _settings(learn: ConvLearner) -> str:
    from learnkit import __version__

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
