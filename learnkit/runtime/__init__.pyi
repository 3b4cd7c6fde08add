from learnkit.runtime.function import handler as handler
from learnkit.runtime.model import RuntimeModel as RuntimeModel
from learnkit.runtime.model import load as load

__all__ = ["RuntimeModel", "handler", "load"]
