"""Attributes that may be set from outside: a misspelt one is refused, as a misspelt argument is.

`learn.metrcs = [...]` would otherwise be kept and never read. A name is known if the class defines or annotates it, or the
object has it already; whatever a method of the object sets becomes known, so subclasses need nothing for names of their own.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

from learnkit.core.old_names import OldAttribute

__all__ = ["Settable", "check_known"]


class Settable:
    """Base of what users set attributes on: names that nobody reads are refused.

    Names that begin with an underscore are free, for whatever is to be kept on an object.

    Attributes
    ----------
    _set_by_call : tuple of str
        Methods for which assigning is calling, as the course writes `learn.bn_freeze = True`.
    _checks : mapping of str to callable
        What returns the value that is kept of a setting, or raises: a wrong one is refused when it is set.

    Examples
    --------
    >>> import torch
    >>> from learnkit import DataBunch
    >>> data = DataBunch(".", [])
    >>> data.vall_dl = []
    Traceback (most recent call last):
    ...
    AttributeError: DataBunch has no `vall_dl` to set; did you mean `val_dl`? (A name that begins with _ is free for your own notes.)
    """

    _set_by_call: ClassVar[tuple[str, ...]] = ()
    _checks: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    if not TYPE_CHECKING:  # a checker would take every name for one that can be set

        def __setattr__(self, name: str, value: Any) -> None:
            if name in self._set_by_call and not callable(value):
                getattr(self, name)(value)
                return
            check_known(self, name, value, sys._getframe(1))
            if name in self._checks:
                value = self._checks[name](value)
            super().__setattr__(name, value)


def check_known(obj: Any, name: str, value: Any, frame: FrameType) -> None:
    """Refuse to set an attribute that is not known, unless a method of the object is about to, in `frame`.

    Raises
    ------
    AttributeError
        With the name that is nearest.
    """
    if name.startswith("_") or name in vars(obj) or _is_own_method(frame, obj):
        return
    own = inspect.getattr_static(type(obj), name, None)
    if isinstance(own, OldAttribute):
        getattr(obj, name)  # says what replaced it
    if inspect.isroutine(own) and not callable(value):
        argument = repr(value) if len(inspect.signature(own).parameters) > 1 else ""
        raise AttributeError(f"`{name}` of {type(obj).__name__} is called, not set: write `.{name}({argument})`.")
    if own is None and name not in set(_names(obj)):
        raise AttributeError(_unknown(obj, name))


def _is_own_method(frame: FrameType, obj: Any) -> bool:
    """Whether code runs as a method of the object, or as a class method that makes it."""
    code = frame.f_code
    if not code.co_argcount:
        return False
    first = frame.f_locals.get(code.co_varnames[0])
    return first is obj or (isinstance(first, type) and isinstance(obj, first))


def _names(obj: Any) -> Iterator[str]:
    """Yield what can be set or called: the object's attributes, and what its classes define or annotate."""
    yield from vars(obj)
    for cls in type(obj).__mro__[:-1]:
        yield from (name for name, own in vars(cls).items() if not isinstance(own, OldAttribute))
        yield from inspect.get_annotations(cls)


def _unknown(obj: Any, name: str) -> str:
    public = sorted({known for known in _names(obj) if not known.startswith("_")})
    near = difflib.get_close_matches(name, public, n=1, cutoff=0.6)
    settable = [known for known in public if known in vars(obj)]
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(settable)}."
    return (
        f"{type(obj).__name__} has no `{name}` to set; {hint} (A name that begins with _ is free for your own notes.)"
    )
