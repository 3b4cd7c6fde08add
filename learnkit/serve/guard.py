"""What is looked at before a request is: the size of its head, and the key, if one is asked for."""

from __future__ import annotations

import hashlib
import hmac

from learnkit.serve.refusals import Refusal
from learnkit.serve.web import ASGIApp, JSONResponse, Receive, Scope, Send

__all__ = ["Guard"]

OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
"""Needs no key: what says nothing of the models' data, and what an orchestrator asks."""
TOKEN_INSTEAD = ("PUT", "/variants")
"""Asks for a token of its own, in the same header."""


class Guard:
    """Turns away requests without the key, or with an endless head.

    Parameters
    ----------
    app : ASGI application
    api_key : str or None
        `None` asks for none.
    header_bytes : int
        Of path, query and headers together.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, header_bytes: int) -> None:
        self.app, self.header_bytes = app, header_bytes
        self.digest = None if api_key is None else _digest(api_key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await JSONResponse(refusal.body(), refusal.status, refusal.headers)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        size = sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope["query_string"])
        if size + len(scope["path"]) > self.header_bytes:
            return Refusal(
                431, f"the head of a request may have {self.header_bytes:,} bytes.", loc=("header",), kind="too_long"
            )
        if self.digest is None or scope["path"] in OPEN or (scope["method"], scope["path"]) == TOKEN_INSTEAD:
            return None
        headers = dict(scope["headers"])
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        # Digests have one length, and are compared in a time that does not depend on where they differ.
        if hmac.compare_digest(_digest(given), self.digest):
            return None
        return Refusal(
            401,
            "this server asks for a key. Send it in the header `Authorization: Bearer KEY`, or in `X-API-Key`.",
            loc=("header", "authorization"),
            kind="no_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
