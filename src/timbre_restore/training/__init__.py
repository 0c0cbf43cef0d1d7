"""Training: state, steps, loop, schedule, checkpoints and monitors."""

from timbre_restore.training.ahead.one_batch import Overfit, overfit
from timbre_restore.training.ahead.timing import StepTimes, time_steps
from timbre_restore.training.ahead.trial import Criterion, Trial, run_trial
from timbre_restore.training.checkpoints.checkpoint import Checkpoint, find_checkpoint, load_generator
from timbre_restore.training.loop import TrainSummary, train
from timbre_restore.training.monitors.guard import OnAnomaly
from timbre_restore.training.record.page import write_page
from timbre_restore.training.record.trackers import require_trackers
from timbre_restore.training.settings import TrainSettings

__all__ = [
    "Checkpoint",
    "Criterion",
    "OnAnomaly",
    "Overfit",
    "StepTimes",
    "TrainSettings",
    "TrainSummary",
    "Trial",
    "find_checkpoint",
    "load_generator",
    "overfit",
    "require_trackers",
    "run_trial",
    "time_steps",
    "train",
    "write_page",
]
