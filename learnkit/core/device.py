"""Where tensors live and where randomness comes from.

`to_device` is the one function that moves batches; `to_np` and `T` are the two bridges to NumPy, `V` is `T` on the device.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, unpack_sequence

__all__ = [
    "VV",
    "PerItem",
    "T",
    "V",
    "default_device",
    "is_out_of_memory",
    "map_tensors",
    "seed_everything",
    "to_cpu",
    "to_device",
    "to_np",
]


def default_device() -> torch.device:
    """Return the device learnkit trains on: `LEARNKIT_DEVICE` if set, else CUDA, else MPS, else CPU.

    Returns
    -------
    torch.device
    """
    if name := os.environ.get("LEARNKIT_DEVICE"):
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def map_tensors(fn: Callable[[Tensor], Any], value: Any, others: Callable[[Any], Any] | None = None) -> Any:
    """Apply `fn` to every tensor in nested tuples, lists and mappings.

    Everything else stays as it is, but for the data of packed sequences; or is what `others` makes of it.
    """
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, PackedSequence):  # a tuple whose other parts say how it is packed
        return _repacked(value, fn(value.data)) if others is None else others(value)
    if isinstance(value, tuple | list):
        mapped = [map_tensors(fn, item, others) for item in value]
        if isinstance(value, list):
            return mapped
        return type(value)(*mapped) if hasattr(value, "_fields") else tuple(mapped)  # a namedtuple stays one
    if isinstance(value, Mapping):
        return {key: map_tensors(fn, item, others) for key, item in value.items()}
    return value if others is None else others(value)


def _repacked(packed: PackedSequence, data: Tensor) -> PackedSequence:
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def to_device(value: Any, device: torch.device | str, *, channels_last: bool = False) -> Any:
    """Move the tensors in `value` (nested in any way) to `device`, without blocking where memory is pinned.

    Parameters
    ----------
    value : Any
        A tensor, or tuples, lists and dicts of tensors. Packed sequences, and other objects that have a method `to` (the
        graphs of other libraries), move themselves.
    device : torch.device or str
        Where to.
    channels_last : bool, default False
        Give four-dimensional tensors the `(B, H, W, C)` memory layout that convolutions on recent hardware
        prefer. Shapes do not change.
    """

    def move(x: Tensor) -> Tensor:
        if channels_last and x.ndim == 4:
            return x.to(device, non_blocking=True, memory_format=torch.channels_last)
        return x if x.device == device else x.to(device, non_blocking=True)

    def move_itself(x: Any) -> Any:
        return x.to(device) if callable(getattr(x, "to", None)) and not isinstance(x, type) else x

    return map_tensors(move, value, move_itself)


def to_cpu(value: Any) -> Any:
    """Detach the tensors in `value` and bring them to the CPU."""
    return map_tensors(lambda x: x.detach().cpu(), value)


class PerItem(list[Any]):
    """A list with an entry for each item of a batch."""


def to_np(value: Any) -> Any:
    """Turn tensors into NumPy arrays, in tuples, lists and dicts too.

    Parameters
    ----------
    value : Any
        A tensor on any device, with or without gradient, or a nest of them.

    Returns
    -------
    Any
        The same nest of arrays; `bfloat16` becomes `float32`, which NumPy has no type for, and packed sequences a list of
        one array each, in the order they were packed from.

    Examples
    --------
    >>> import torch
    >>> from learnkit import to_np
    >>> to_np(torch.tensor([1.0, 2.0], requires_grad=True))
    array([1., 2.], dtype=float32)
    """

    def convert(x: Tensor) -> NDArray[Any]:
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()

    def unpack(x: Any) -> Any:
        return PerItem(map(convert, unpack_sequence(x))) if isinstance(x, PackedSequence) else x

    return map_tensors(convert, value, unpack)


def T(value: Any) -> Any:
    """Turn arrays and numbers into tensors: integers become `int64`, other numbers `float32`.

    Parameters
    ----------
    value : Any
        An array, number, list of numbers or tensor (returned as it is), or a tuple or dict of them.

    Returns
    -------
    Any
        A CPU tensor, or the same nest of tensors.

    Raises
    ------
    TypeError
        If there are no numbers.
    ValueError
        If a number is too large for `int64` or `float32`.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit import T
    >>> T(np.arange(3)).dtype, T([0.5, 1.5]).dtype
    (torch.int64, torch.float32)
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        return {key: T(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(T(item) for item in value)
    array = np.asarray(value)
    if array.dtype.kind in "bui":
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"whole numbers must be below 2**63 to become int64; got {array.max()}.")
        return torch.from_numpy(np.array(array, dtype=np.int64))
    if array.dtype.kind == "f":
        try:
            with np.errstate(over="raise"):
                return torch.from_numpy(np.array(array, dtype=np.float32))
        except FloatingPointError as exc:
            largest = np.abs(array[np.isfinite(array)]).max()
            raise ValueError(f"numbers must be below 3.4e38 to become float32; got {largest:.3g}.") from exc
    raise TypeError(f"expected numbers; got an array of dtype {array.dtype}. Encode text and categories first.")


def V(x: Any, requires_grad: bool = False) -> Any:
    """Turn arrays and numbers into tensors on the device that is trained on; the course's `Variable`.

    Parameters
    ----------
    x : Any
        As for `T`; a list or tuple of arrays or tensors stays a list or tuple.
    requires_grad : bool, default False
        Whether gradients are to be computed with respect to them. A tensor that requires them already keeps doing so.

    Returns
    -------
    Any
        A tensor on `default_device()`, or the same nest of them.

    Raises
    ------
    TypeError
        If gradients are asked for of whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from learnkit import V
    >>> a = V(np.array([3.0]), requires_grad=True)
    >>> (a * a).sum().backward()
    >>> a.grad.item()
    6.0
    """
    if isinstance(x, tuple | list) and any(map(_holds_arrays, x)):
        moved = [V(item, requires_grad) for item in x]
        return moved if isinstance(x, list) else tuple(moved)
    if isinstance(x, Mapping):
        return {key: V(item, requires_grad) for key, item in x.items()}
    tensor: Tensor = T(x).to(default_device())
    if not requires_grad or tensor.requires_grad:
        return tensor
    if not tensor.is_floating_point():
        raise TypeError(f"gradients need floating-point numbers; got {tensor.dtype}. Write V(x.astype(float), ...).")
    return tensor.detach().requires_grad_()


def _holds_arrays(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray) or (isinstance(x, tuple | list) and any(map(_holds_arrays, x)))


def VV(x: Any) -> Any:
    """Turn arrays and numbers into tensors on the device, without gradients (the course's "volatile"); see `V`."""
    return map_tensors(Tensor.detach, V(x))


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether an error says that memory was not enough, on any device."""
    if isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(exc, RuntimeError) and any(text in str(exc) for text in _NO_MEMORY)


_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch (all devices).

    Parameters
    ----------
    seed : int
        Any whole number of at most 32 bits.
    deterministic : bool, default False
        Also ask torch for algorithms that give the same bits every time, which may be slower.

    Examples
    --------
    >>> import torch
    >>> from learnkit import seed_everything
    >>> seed_everything(42)
    >>> a = torch.rand(3)
    >>> seed_everything(42)
    >>> bool((a == torch.rand(3)).all())
    True
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - user transforms and libraries draw from the global generator
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
