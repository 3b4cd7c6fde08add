"""Predict with an exported model on numpy and onnxruntime alone, with Pillow for pictures: no torch, no pandas; see `load`."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
