"""Using deltas: attached to a loaded model, many tasks in a batch, predictions from text."""

from .attach import DeltaHost
from .mixed import MixedTasks

__all__ = ["DeltaHost", "MixedTasks"]
