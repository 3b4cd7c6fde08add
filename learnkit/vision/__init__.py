"""Pictures: data from folders and arrays, transforms, pretrained architectures, `ConvLearner`."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
