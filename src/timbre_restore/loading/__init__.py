"""Feeding pairs to training: the dataset, and the order of its batches."""

from timbre_restore.audio import Pair, read_list
from timbre_restore.loading.batches import EpochBatches
from timbre_restore.loading.dataset import TimbreRestoreDataset
from timbre_restore.loading.loader import batches_of, make_loader

__all__ = ["EpochBatches", "Pair", "TimbreRestoreDataset", "batches_of", "make_loader", "read_list"]
