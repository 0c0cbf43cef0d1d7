"""State, steps, loop, schedule, checkpoints, monitor."""

from timbre_restore.training.checkpoint import Checkpoint, find_checkpoint, load_generator
from timbre_restore.training.loop import TrainSummary, train
from timbre_restore.training.page import write_page
from timbre_restore.training.settings import TrainSettings
from timbre_restore.training.trackers import require_trackers
from timbre_restore.training.trial import StepTimes, time_steps

__all__ = [
    "Checkpoint",
    "StepTimes",
    "TrainSettings",
    "TrainSummary",
    "find_checkpoint",
    "load_generator",
    "require_trackers",
    "time_steps",
    "train",
    "write_page",
]
