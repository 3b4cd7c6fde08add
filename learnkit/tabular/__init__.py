"""Tables: features from dates and history, preprocessing that is data, entity embeddings, scikit-learn estimators."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
