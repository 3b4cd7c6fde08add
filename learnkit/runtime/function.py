"""`handler`: an exported model as a function of a cloud's function service, which is called with an event for each request."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from learnkit.core.errors import DataError
from learnkit.runtime.model import RuntimeModel, load

__all__ = ["handler"]

ROWS = 1000
"""Instances in one event."""

Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def handler(path: str | os.PathLike[str]) -> Handler:
    """Return a function that answers events, with the model opened once.

    An event is `{"instances": [...]}` itself, as a queue or another function sends it, or a request as an API gateway hands it
    on: a mapping with `body`, in base64 where `isBase64Encoded` says so. It is answered in kind: with `{"model": ...,
    "predictions": [...]}`, or with `statusCode`, `headers` and `body`.

    With numpy, Pillow and onnxruntime beside learnkit it unpacks to some 190 MB, below the 250 MB that such services take.

    Parameters
    ----------
    path : path-like
        A file that `learn.to_onnx` wrote.

    Returns
    -------
    callable
        `(event, context)` -> dict.

    Raises
    ------
    CheckpointError
        If it is no such file.
    """
    model = load(path)

    def answer(event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
        if not isinstance(event, Mapping) or "instances" in event:
            return _answer(model, event)
        try:
            return _response(200, _answer(model, _body(event)))
        except DataError as exc:
            return _response(422, {"detail": [{"loc": ["body"], "msg": str(exc), "type": "value_error"}]})

    return answer


def _answer(model: RuntimeModel, request: Any) -> dict[str, Any]:
    instances = request.get("instances") if isinstance(request, Mapping) else None
    if not isinstance(instances, list) or not 0 < len(instances) <= ROWS:
        raise DataError(f'a request must be {{"instances": [...]}}, a list of 1 to {ROWS:,}.')
    items = []
    for i, value in enumerate(instances):
        try:
            items.append(model.instance(value))
        except DataError as exc:
            raise DataError(f"instance {i}: {exc}") from exc
    stamp = {"name": model.name, "version": model.version, "created": model.created}
    return {"model": stamp, "predictions": model.answers(items)}


def _body(event: Mapping[str, Any]) -> Any:
    body = event.get("body")
    try:
        text = base64.b64decode(body, validate=True).decode() if event.get("isBase64Encoded") else body  # type: ignore[arg-type]
        return json.loads(text, parse_constant=_no_number)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error, RecursionError) as exc:
        raise DataError(f"the body is no JSON: {exc}") from exc


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON; a value that is missing is null.")


def _response(status: int, body: Any) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
