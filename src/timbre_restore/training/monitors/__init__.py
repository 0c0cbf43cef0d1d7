"""Rules that monitor a run: each is a small class that takes the log interval by interval and returns findings."""

from timbre_restore.training.monitors.local import Local
from timbre_restore.training.monitors.memory import is_out_of_memory, out_of_memory, reason_of
from timbre_restore.training.monitors.monitor import Monitor
from timbre_restore.training.monitors.weights import not_finite

__all__ = ["Local", "Monitor", "is_out_of_memory", "not_finite", "out_of_memory", "reason_of"]
