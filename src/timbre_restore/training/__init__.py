"""State, steps, loop, schedule, checkpoints, monitor."""

from timbre_restore.training.checkpoint import Checkpoint, find_checkpoint, load_generator
from timbre_restore.training.loop import TrainSummary, train
from timbre_restore.training.settings import TrainSettings

__all__ = ["Checkpoint", "TrainSettings", "TrainSummary", "find_checkpoint", "load_generator", "train"]
