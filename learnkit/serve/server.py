"""`app`: the application that answers for models over HTTP. Its routes, and what stands before them."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from learnkit.core.version import __version__
from learnkit.runtime.model import load
from learnkit.serve import v2
from learnkit.serve.feedback import ADMIN_TOKEN, check_token, read_feedback, read_shares
from learnkit.serve.guard import Guard
from learnkit.serve.limits import Limits
from learnkit.serve.metrics import CountRequests
from learnkit.serve.models import Servable, Served
from learnkit.serve.reading import Reading, read_request
from learnkit.serve.refusals import Refusal
from learnkit.serve.service import Service
from learnkit.serve.web import (
    ClientDisconnect,
    CORSMiddleware,
    FastAPI,
    HTMLResponse,
    JSONResponse,
    Request,
    Response,
    run_in_threadpool,
)

__all__ = ["WARNING", "app"]

WARNING = "X-Learnkit-Warning"
"""The header that says which columns were ignored, and where a category was never seen."""
VARIANT_KEY = "X-Variant-Key"
"""The header that says for whom a request is, so that all of theirs go to one model."""

# The page loads nothing from anywhere else, and the browser holds it to that.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "img-src blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def app(
    models: Mapping[str, Servable | str | os.PathLike[str]],
    *,
    shares: Mapping[str, float] | None = None,
    admin_token: str | None = None,
    api_key: str | None = None,
    cors_origin: str | Sequence[str] | None = None,
    limits: Limits | None = None,
    threads: int | None = None,
) -> FastAPI:
    """Return an application that answers for models over HTTP.

    Parameters
    ----------
    models : dict
        By name, files that `learn.to_onnx` wrote, or models that `learnkit.runtime.load` opened. `POST /predict` asks
        `?model=NAME`, or one by its share.
    shares : dict, optional
        Weights of the models by name, e.g. `{"a": 0.9, "b": 0.1}`, for requests that name none; the first gets all by default.
        The header `X-Variant-Key` makes all requests of one key go to the same model.
    admin_token : str, optional
        That `PUT /variants` asks for as `Authorization: Bearer TOKEN`; that in the environment's `LEARNKIT_ADMIN_TOKEN` by
        default. Without one the shares cannot be changed while it runs.
    api_key : str, optional
        That requests must send as `Authorization: Bearer KEY` or `X-API-Key`. The page, `/docs` and `/v2/health` need none.
    cors_origin : str or list of str, optional
        Whose pages may ask this server from a browser, e.g. `"https://example.org"`; nobody's by default.
    limits : Limits, optional
    threads : int, optional
        That a model opened here computes with; by default as many as there are cores but one, which reads and answers.

    Returns
    -------
    FastAPI
        For any ASGI server, e.g. `uvicorn.run(app, http="h11")`. When it is stopped it finishes what it accepted.

    Raises
    ------
    MissingExtraError
        If the extra `serve` is not installed.
    CheckpointError
        If a file is no model.
    ValueError
        If there is no model, or the shares are no weights of them.

    Examples
    --------
    >>> from learnkit.serve import app
    >>> app({"cats/dogs": "pets.onnx"})
    Traceback (most recent call last):
    ValueError: the name of a model stands in URLs: letters, digits, `_`, `.` and `-`; got 'cats/dogs'.
    """
    limits = limits or Limits()
    if api_key is not None and not api_key.strip():
        raise ValueError("`api_key` must not be empty; leave it out to ask for none.")
    if not models:
        raise ValueError("`models` must hold at least one model by its name; got none.")
    service = Service({_checked(name): opened(model, threads) for name, model in models.items()}, limits, shares)
    token = os.environ.get(ADMIN_TOKEN) if admin_token is None else admin_token

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with warnings.catch_warnings():
            # A category that is new, say: the client knows what it sent, and Python would keep each text for good.
            warnings.filterwarnings("ignore", category=UserWarning, module="threading")
            yield
            await run_in_threadpool(service.stop)

    made = FastAPI(title="learnkit", version=__version__, lifespan=lifespan, redoc_url=None, description=DESCRIPTION)
    made.state.service = service
    _add_handlers(made)
    _add_own_routes(made, service)
    _add_variant_routes(made, service, token)
    _add_v2_routes(made, service)
    # The last one added is the first a request meets.
    made.add_middleware(Guard, api_key=api_key, header_bytes=limits.header_bytes)
    if cors_origin is not None:
        made.add_middleware(
            CORSMiddleware,
            allow_origins=[cors_origin] if isinstance(cors_origin, str) else list(cors_origin),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", VARIANT_KEY],
            expose_headers=[WARNING, "Retry-After"],
        )
    made.add_middleware(CountRequests, metrics=service.metrics)
    return made


def opened(model: Servable | str | os.PathLike[str], threads: int | None) -> Servable:
    """Return a model, opened where a file is named."""
    if not isinstance(model, str | os.PathLike):
        return model
    return load(model, threads=threads or max(1, (os.cpu_count() or 1) - 1))


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name.strip(".") == "":
        raise ValueError(f"the name of a model stands in URLs: letters, digits, `_`, `.` and `-`; got {name!r}.")
    return name


def _add_handlers(made: FastAPI) -> None:
    async def refused(request: Request, exc: Exception) -> Response:
        if not isinstance(exc, Refusal):
            raise exc
        body: dict[str, Any] = exc.body()
        if request.url.path.startswith("/v2"):
            body = {"error": exc.message, **body}  # the protocol's own word for it
        return JSONResponse(body, exc.status, exc.headers)

    async def gone(request: Request, exc: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; counted in /metrics

    made.add_exception_handler(Refusal, refused)
    made.add_exception_handler(ClientDisconnect, gone)


def _add_own_routes(made: FastAPI, service: Service) -> None:
    page = _page([*service.models])

    @made.get("/", include_in_schema=False)
    async def page_to_try_it() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"})

    @made.get("/metrics", summary="What Prometheus asks for")
    async def metrics() -> Response:
        return Response(service.metrics_text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @made.post("/predict", summary="Predict", responses=RESPONSES, openapi_extra=PREDICT)
    async def predict(request: Request, model: str | None = None) -> Response:
        """Answer for each instance, in order. `model` chooses one by its name; else one is asked by its share.

        Then the answer has an `id`, to be named in feedback. Who names a model has chosen it, so that its answers do not count
        where models are compared.
        """
        content_type = request.headers.get("content-type", "")

        async def answers(served: Served) -> tuple[dict[str, Any], dict[str, str]]:
            found, reading = await service.answers(
                request, served, lambda body: read_request(body, content_type, served, service.limits)
            )
            return {"model": served.stamp(), "predictions": found}, _warning(reading)

        if model is not None:
            answer, headers = await answers(service.named(model))
        else:
            variant = service.variants.choose(request.headers.get(VARIANT_KEY))
            with service.variants.asked(variant):
                answer, headers = await answers(variant.served)
            answer["id"] = service.variants.number(variant, len(answer["predictions"]))
        return JSONResponse(answer, headers=headers)


def _add_variant_routes(made: FastAPI, service: Service, token: str | None) -> None:
    @made.get("/variants", summary="How the models compare")
    async def variants() -> Response:
        """Say of each model its share, requests, latencies and right answers, and of each two the difference."""
        return JSONResponse(service.variants.report())

    @made.put("/variants", summary="Change the shares", responses=REFUSED, openapi_extra=SHARES)
    async def put(request: Request) -> Response:
        """Set the shares of the requests that name no model; one that is left out gets none."""
        check_token(token, request.headers.get("authorization", ""))
        content_type = request.headers.get("content-type", "")
        shares = read_shares(await service.body(request), content_type, service.limits)
        try:
            service.variants.put(shares)
        except ValueError as exc:
            raise Refusal(422, str(exc), loc=("body", "shares")) from exc
        return JSONResponse(service.variants.report())

    @made.post("/feedback", summary="Say whether an answer was right", openapi_extra=FEEDBACK)
    async def feedback(request: Request) -> Response:
        """Count an answer, named by its `id`, as right or wrong; of several predictions `instance` says which."""
        content_type = request.headers.get("content-type", "")
        number, correct, instance = read_feedback(await service.body(request), content_type, service.limits)
        judged = service.variants.judge(number, correct=correct, instance=instance)
        return JSONResponse({"model": judged.served.stamp(), "right": judged.right, "wrong": judged.wrong})


def _add_v2_routes(made: FastAPI, service: Service) -> None:
    @made.get("/v2", summary="About the server", tags=["v2"])
    async def server() -> Response:
        return JSONResponse(v2.server_metadata())

    @made.get("/v2/health/live", summary="Is the process there?", tags=["v2"])
    async def live() -> Response:
        return JSONResponse({"live": True})

    @made.get("/v2/health/ready", summary="Are all models ready?", tags=["v2"])
    async def ready() -> Response:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @made.get("/v2/models/{name}", summary="About a model", tags=["v2"])
    @made.get("/v2/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str | None = None) -> Response:
        return JSONResponse(v2.model_metadata(_of_version(service, name, version)))

    @made.get("/v2/models/{name}/ready", summary="Is a model ready?", tags=["v2"])
    @made.get("/v2/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(name: str, version: str | None = None) -> Response:
        is_ready = not _of_version(service, name, version).batcher.stopped
        return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    @made.post(
        "/v2/models/{name}/infer", summary="Predict from tensors", tags=["v2"], responses=RESPONSES, openapi_extra=INFER
    )
    @made.post("/v2/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, name: str, version: str | None = None) -> Response:
        served = _of_version(service, name, version)
        content_type = request.headers.get("content-type", "")
        found, reading = await service.answers(
            request, served, lambda body: v2.read_infer(body, content_type, served, service.limits)
        )
        return JSONResponse(v2.infer_response(found, reading, served), headers=_warning(reading))


def _of_version(service: Service, name: str, version: str | None) -> Any:
    served = service.named(name)
    if version not in (None, served.model.version):
        raise Refusal(
            404, f"of {name} there is the version {served.model.version} here.", loc=("version",), kind="unknown"
        )
    return served


def _warning(reading: Reading) -> dict[str, str]:
    """Return a header that names what was ignored, or counts as missing; in ASCII, for the names are the client's."""
    said = [
        f"{what}: {', '.join(json.dumps(name[:50]) for name in names[:10])}{', ...' if len(names) > 10 else ''}"
        for what, names in (
            ("ignored, as training did not have them", reading.unknown),
            ("never seen in training, so it counts as missing, is a value of", reading.unseen),
        )
        if names
    ]
    return {WARNING: "; ".join(said)} if said else {}


def _page(names: list[str]) -> str:
    source = (pkgutil.get_data(__package__, "page.html") or b"").decode()
    return source.replace("[/*models*/]", json.dumps(names))


DESCRIPTION = """An instance is a row as an object, a text, `{"user": ..., "item": ...}`, or `{"b64": "..."}` for a picture, which
may also be sent as a form with fields named `files`."""

_DETAIL = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "loc": {"type": "array", "items": {}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        }
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _DETAIL}}}
    for status, text in {
        413: "The body is too long.",
        415: "Neither JSON nor, for pictures, a form.",
        422: "An instance cannot be answered; `loc` says which, and `msg` what to do.",
        429: "Too many wait; `Retry-After` says when to come back.",
        503: "Too late, or the server is being stopped.",
        504: "The model took too long.",
    }.items()
}
REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"schema": _DETAIL}}}
    for status, text in {401: "Another token.", 403: "The server has none.", 422: "No weights of its models."}.items()
}


def _body(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": [*required], "properties": properties}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


SHARES = _body(["shares"], shares={"type": "object", "additionalProperties": {"type": "number"}})
FEEDBACK = _body(["id", "correct"], id={"type": "string"}, correct={"type": "boolean"}, instance={"type": "integer"})
PREDICT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["instances"],
                    "properties": {"instances": {"type": "array", "items": {}}},
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                },
            },
        },
    }
}
INFER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "shape": {"type": "array", "items": {"type": "integer"}},
                                    "datatype": {"type": "string", "enum": [*v2.DATATYPES]},
                                    "data": {"type": "array", "items": {}},
                                },
                            },
                        },
                        "outputs": {"type": "array", "items": {"type": "object"}},
                    },
                },
            }
        },
    }
}
