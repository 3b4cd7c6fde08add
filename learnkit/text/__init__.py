"""Text: language models on a stream of it, classifiers on their encoders, text that they make up."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
