"""The web packages the server stands on, named in one place, so that an error says which extra installs them."""

from __future__ import annotations

from learnkit.core.errors import MissingExtraError

try:
    from fastapi import FastAPI, Request
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.responses import HTMLResponse, JSONResponse, Response
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import ClientDisconnect
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as exc:
    raise MissingExtraError(
        f"the server needs the package `{exc.name}`, which is not installed. "
        'Install it with: pip install "learnkit[serve]"'
    ) from exc

__all__ = [
    "ASGIApp",
    "CORSMiddleware",
    "ClientDisconnect",
    "CollectorRegistry",
    "Counter",
    "FastAPI",
    "FormParserError",
    "Gauge",
    "HTMLResponse",
    "Histogram",
    "JSONResponse",
    "Message",
    "MultipartParser",
    "Receive",
    "Request",
    "Response",
    "Scope",
    "Send",
    "generate_latest",
    "parse_options_header",
    "run_in_threadpool",
]
