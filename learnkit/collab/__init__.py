"""Ratings: collaborative filtering from tables of who liked what, and the answers people ask of it."""

from learnkit.core.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
