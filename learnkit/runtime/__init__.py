"""Predict with an exported model on numpy and onnxruntime alone, with Pillow for pictures: no torch, no pandas.

>>> from learnkit.runtime import load  # doctest: +SKIP
>>> load("cats.onnx").predict(["1.jpg", "2.jpg"])  # doctest: +SKIP
['cat', 'dog']
"""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
