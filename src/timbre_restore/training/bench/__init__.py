"""How fast training is on a machine, beside the recipe that others train, and what each part of a step takes."""

from timbre_restore.training.bench.measure import bench_training

__all__ = ["bench_training"]
