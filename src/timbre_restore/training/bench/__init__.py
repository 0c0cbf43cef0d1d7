"""Training speed on a machine, compared with the reference recipe, and the time of each part of a step."""

from timbre_restore.training.bench.measure import bench_training

__all__ = ["bench_training"]
