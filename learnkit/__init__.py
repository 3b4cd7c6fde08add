"""learnkit: deep learning for people with a problem to solve.

A `Learner` wraps a `DataBunch` and a model; everything else is a callback on one visible training loop
(`learnkit.train.loop.fit`) or an application that builds the three (`learnkit.vision`).
"""

from learnkit.core.lazy_names import lazy_names
from learnkit.core.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_names(__name__)
