from learnkit.serve.limits import Limits as Limits
from learnkit.serve.server import app as app

__all__ = ["Limits", "app"]
