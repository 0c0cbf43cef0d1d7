"""Feeding pairs to training."""

from timbre_restore.loading.batches import EpochBatches
from timbre_restore.loading.dataset import Pair, TimbreRestoreDataset, read_list

__all__ = ["EpochBatches", "Pair", "TimbreRestoreDataset", "read_list"]
