"""The Open Inference Protocol, version 2 (KServe, Triton and others speak it): tensors in JSON, one per column.

A model is asked for what it takes as a person would write it: a tensor for each column of a table, `text` for texts, `user` and
`item` for ratings, `b64` for pictures (files in base64, of the type BYTES). All have one row per instance. The answer holds
`label` and `probabilities`, `labels` (yes or no by class) and `probabilities`, or `value`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learnkit.core.version import __version__
from learnkit.serve.limits import Limits, read_json
from learnkit.serve.models import Served
from learnkit.serve.reading import Reading, check_is_json, read_instances
from learnkit.serve.refusals import Refusal
from learnkit.serve.web import parse_options_header

__all__ = ["InferRequest", "infer_response", "model_metadata", "read_infer", "server_metadata"]

INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
DATATYPES: dict[str, tuple[type, ...]] = {
    "BYTES": (str,),
    "BOOL": (bool,),
    **dict.fromkeys(INTEGERS, (int,)),
    **dict.fromkeys(("FP16", "FP32", "FP64"), (int, float)),
}
"""What JSON may hold for each type; null besides, for a value that is missing."""


@dataclass(frozen=True)
class InferRequest(Reading):
    """The instances of an inference request, its number, and the outputs it asks for."""

    id: str | None = None
    outputs: tuple[str, ...] | None = None


def server_metadata() -> dict[str, Any]:
    """Return what the server says of itself."""
    return {"name": "learnkit", "version": __version__, "extensions": []}


def model_metadata(served: Served) -> dict[str, Any]:
    """Return a model's inputs and outputs; beside them, as an extension, what the page makes its form from."""
    model = served.model
    inputs = [{"name": column.name, "datatype": column.datatype, "shape": [-1]} for column in served.columns]
    columns = [
        {"name": column.name, "number": column.number, "choices": column.choices, "example": column.example}
        for column in served.columns
    ]
    return {
        "name": served.name,
        "versions": [model.version],
        "platform": "onnx_onnxv1",
        "inputs": inputs,
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in _outputs(served)],
        "parameters": {
            "kind": model.kind,
            "task": model.task,
            "classes": model.classes,
            "created": model.created,
            "columns": columns,
        },
    }


def read_infer(body: bytes, content_type: str, served: Served, limits: Limits) -> InferRequest:
    """Read an inference request.

    Raises
    ------
    Refusal
        If the tensors are not what they say, or not what the model takes.
    """
    kind, _ = parse_options_header(content_type)
    if kind == b"application/octet-stream":
        raise Refusal(415, "tensors must be in the JSON: ask your client for `binary_data=False`.", kind="unsupported")
    check_is_json(kind)
    value = read_json(body, limits.depth)
    inputs = value.get("inputs") if isinstance(value, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise Refusal(422, "`inputs` must be a list of tensors.", loc=("body", "inputs"), kind="missing")
    number, wanted = value.get("id"), value.get("outputs")
    if number is not None and not isinstance(number, str):
        raise Refusal(422, "`id` must be a text.", loc=("body", "id"), kind="wrong_type")
    columns = dict(_tensor(tensor, i, limits) for i, tensor in enumerate(inputs))
    rows = {name: len(cells) for name, cells in columns.items()}
    if len(set(rows.values())) > 1:
        raise Refusal(
            422,
            f"all inputs must have as many rows; got {', '.join(f'{n:,} in `{name}`' for name, n in rows.items())}.",
            loc=("body", "inputs"),
        )
    instances: list[Any] = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if served.model.kind == "texts":
        if "text" not in columns:
            raise Refusal(422, "there must be an input `text`.", loc=("body", "inputs"), kind="missing")
        instances = list(columns["text"])
    reading = read_instances(instances, served, limits)
    return InferRequest(reading.items, reading.unknown, reading.unseen, number, _wanted(wanted, served))


def infer_response(answers: Sequence[dict[str, Any]], request: InferRequest, served: Served) -> dict[str, Any]:
    """Return the answers as tensors."""
    outputs = []
    for name, datatype, shape in _outputs(served):
        if request.outputs is None or name in request.outputs:
            data = [cell for answer in answers for cell in _cells(name, answer, served)]
            outputs.append({"name": name, "datatype": datatype, "shape": [len(answers), *shape[1:]], "data": data})
    about = {"model_name": served.name, "model_version": served.model.version}
    return about | ({} if request.id is None else {"id": request.id}) | {"outputs": outputs}


def _outputs(served: Served) -> list[tuple[str, str, list[int]]]:
    """Return name, type and shape of what a model gives."""
    n = len(served.model.classes or ())
    if served.model.task == "category":
        return [("label", "BYTES", [-1]), ("probabilities", "FP32", [-1, n])]
    if served.model.task == "multi":
        return [("labels", "BOOL", [-1, n]), ("probabilities", "FP32", [-1, n])]
    return [("value", "FP32", [-1, n] if n > 1 else [-1])]


def _cells(name: str, answer: dict[str, Any], served: Served) -> list[Any]:
    if name == "label":
        return [str(answer["label"])]
    if name == "labels":
        return [label in answer["labels"] for label in served.model.classes or ()]
    if name == "probabilities":
        return list(answer["probabilities"].values())
    return list(answer["values"].values()) if "values" in answer else [answer["value"]]


def _tensor(tensor: Any, i: int, limits: Limits) -> tuple[str, list[Any]]:
    """Return name and cells of an input."""
    loc = ("body", "inputs", i)
    if not isinstance(tensor, dict):
        raise Refusal(
            422, "an input must be an object with name, shape, datatype and data.", loc=loc, kind="wrong_type"
        )
    for key, type_ in (("name", str), ("datatype", str), ("shape", list), ("data", list)):
        if not isinstance(tensor.get(key), type_):
            what = "a text" if type_ is str else "a list"
            raise Refusal(422, f"an input must have `{key}`, {what}.", loc=(*loc, key), kind="missing")
    name, shape, datatype = tensor["name"], tensor["shape"], tensor["datatype"]
    if datatype not in DATATYPES:
        raise Refusal(
            422, f"`datatype` must be one of {', '.join(DATATYPES)}; got {datatype!r}.", loc=(*loc, "datatype")
        )
    if not shape or not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape[1:]) != 1:
        raise Refusal(422, f"`{name}` must have the shape [rows] or [rows, 1]; got {shape}.", loc=(*loc, "shape"))
    cells = tensor["data"]
    if len(shape) > 1 and cells and all(isinstance(cell, list) and len(cell) == 1 for cell in cells):
        cells = [cell for (cell,) in cells]  # both nested and flat are allowed
    if len(cells) != shape[0]:
        raise Refusal(422, f"`{name}` has {len(cells):,} values, and by its shape {shape[0]:,}.", loc=(*loc, "data"))
    for row, cell in enumerate(cells):
        if cell is not None and type(cell) not in DATATYPES[datatype]:
            raise Refusal(
                422, f"`{name}` is {datatype}; its value {row} is not.", loc=(*loc, "data", row), kind="wrong_type"
            )
    return name, cells


def _wanted(outputs: Any, served: Served) -> tuple[str, ...] | None:
    if outputs is None:
        return None
    known = [name for name, _, _ in _outputs(served)]
    names = [output.get("name") if isinstance(output, dict) else None for output in _listed(outputs)]
    for i, name in enumerate(names):
        if name not in known:
            raise Refusal(
                422, f"there is no output {name!r}; there is: {', '.join(known)}.", loc=("body", "outputs", i)
            )
    return tuple(map(str, names))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Refusal(422, "`outputs` must be a list.", loc=("body", "outputs"), kind="wrong_type")
    return value
