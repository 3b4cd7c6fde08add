"""What is answered instead of a prediction: a status, and where in the request what is wrong and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from learnkit.core.errors import DataError

__all__ = ["Refusal", "refusal_of", "shortened"]

LONGEST = 1000
"""Characters of a message: some quote what came, which may be a megabyte."""

log = logging.getLogger(__name__)

Place = tuple[str | int, ...]


class Refusal(Exception):
    """A request that is not answered.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        What is wrong, and what to do.
    loc : tuple of str and int
        Where in the request, e.g. `("body", "instances", 3, "Age")`.
    kind : str
        A word for programs, as FastAPI's `type`.
    headers : mapping
        To send along.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        loc: Place = ("body",),
        kind: str = "value_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.loc, self.kind = status, shortened(message), loc, kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, list[dict[str, object]]]:
        """Return what is sent, as FastAPI writes its own."""
        loc = [shortened(part) if isinstance(part, str) else part for part in self.loc]
        return {"detail": [{"loc": loc, "msg": self.message, "type": self.kind}]}


def refusal_of(error: Exception, loc: Place) -> Refusal:
    """Say why one instance could not be answered.

    What learnkit raised on purpose is meant to be read. Anything else is written to the log alone: it may tell of the machine.
    """
    if isinstance(error, DataError):
        # It was found as the only one of its batch, so the runtime counts it as row 0.
        return Refusal(422, str(error).replace(" in row 0", f" in instance {loc[-1]}"), loc=loc)
    log.error("the model failed on an instance", exc_info=error)
    return Refusal(
        422,
        f"the model cannot take this instance ({type(error).__name__}). Compare it with what the model was trained on.",
        loc=loc,
        kind="model_error",
    )


def shortened(text: str, longest: int = LONGEST) -> str:
    """Cut a text that is too long to be read."""
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."
