"""The bodies of `PUT /variants` and `POST /feedback`, and who may send the first."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from learnkit.serve.limits import Limits, read_json
from learnkit.serve.reading import check_is_json
from learnkit.serve.refusals import Refusal
from learnkit.serve.web import parse_options_header

__all__ = ["ADMIN_TOKEN", "check_token", "read_feedback", "read_shares"]

ADMIN_TOKEN = "LEARNKIT_ADMIN_TOKEN"
"""The environment variable that holds what changes of the shares are authorised by."""


def check_token(token: str | None, authorization: str) -> None:
    """Refuse who does not send the token, and everybody where there is none.

    Parameters
    ----------
    token : str or None
    authorization : str
        The header, decoded as latin-1.

    Raises
    ------
    Refusal
        403 where there is none, 401 where another was sent.
    """
    loc = ("header", "authorization")
    if not token:
        raise Refusal(
            403,
            f"shares cannot be changed here: the server was started without {ADMIN_TOKEN} in its environment.",
            loc=loc,
            kind="forbidden",
        )
    scheme, _, given = authorization.partition(" ")
    # Digests have one length, and are compared in a time that does not depend on where they differ.
    same = hmac.compare_digest(_digest(given.strip().encode("latin-1")), _digest(token.encode()))
    if scheme.lower() != "bearer" or not same:
        raise Refusal(
            401,
            f"shares are changed with `Authorization: Bearer TOKEN`, the one in the server's {ADMIN_TOKEN}.",
            loc=loc,
            kind="no_token",
            headers={"WWW-Authenticate": "Bearer"},
        )


def read_shares(body: bytes, content_type: str, limits: Limits) -> dict[str, Any]:
    """Return the shares in `{"shares": {"a": 0.9, "b": 0.1}}`, unchecked."""
    shares = _object(body, content_type, limits).get("shares")
    if not isinstance(shares, dict):
        raise Refusal(
            422,
            'the body must be {"shares": {"NAME": number, ...}}.',
            loc=("body", "shares"),
            kind="missing" if shares is None else "wrong_type",
        )
    return shares


def read_feedback(body: bytes, content_type: str, limits: Limits) -> tuple[str, bool, int | None]:
    """Return number, verdict and instance in `{"id": "...", "correct": true, "instance": 0}`."""
    value = _object(body, content_type, limits)
    for key, type_, what in (("id", str, "the text that the answer came with"), ("correct", bool, "true or false")):
        if not isinstance(value.get(key), type_):
            kind = "missing" if key not in value else "wrong_type"
            raise Refusal(422, f"`{key}` must be {what}.", loc=("body", key), kind=kind)
    instance = value.get("instance")
    if instance is not None and type(instance) is not int:
        raise Refusal(422, "`instance` must be a whole number.", loc=("body", "instance"), kind="wrong_type")
    return value["id"], value["correct"], instance


def _object(body: bytes, content_type: str, limits: Limits) -> dict[str, Any]:
    check_is_json(parse_options_header(content_type)[0])
    value = read_json(body, limits.depth)
    if not isinstance(value, dict):
        raise Refusal(422, "the body must be an object.", kind="wrong_type")
    return value


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()
