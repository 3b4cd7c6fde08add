"""An exported model behind a URL: answers over HTTP, together where requests come together, within limits."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
