"""Door to the pairs: `from data.dataset import TimbreRestoreDataset`, from the repository's root."""

from timbre_restore.loading import TimbreRestoreDataset

__all__ = ["TimbreRestoreDataset"]
