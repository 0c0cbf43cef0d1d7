"""Feeding pairs to training: the dataset, the order of its batches, and the worker processes that read them."""

from timbre_restore.audio import Pair, read_list
from timbre_restore.loading.batches import Batches, EpochBatches, FixedBatches
from timbre_restore.loading.dataset import TimbreRestoreDataset
from timbre_restore.loading.draws import BlackBox, RandomGain
from timbre_restore.loading.loader import Loader

__all__ = [
    "Batches",
    "BlackBox",
    "EpochBatches",
    "FixedBatches",
    "Loader",
    "Pair",
    "RandomGain",
    "TimbreRestoreDataset",
    "read_list",
]
