"""The configuration: one typed schema, the only source of names, defaults and ranges.

`load_config` merges a YAML file (and the files it is based on) with `--set` overrides, and reports *every* problem at
once: file, key, what was expected, and the closest valid name. Only the entry points in `apps`, the command line and
tests read the `Config` object; every other package takes plain arguments.
"""

from timbre_restore.config.load import load_config
from timbre_restore.config.schema import (
    Conditioning,
    Config,
    Data,
    Discriminators,
    LossWeights,
    Model,
    Scheduler,
    Source,
    Suppressor,
    Training,
)

__all__ = [
    "Conditioning",
    "Config",
    "Data",
    "Discriminators",
    "LossWeights",
    "Model",
    "Scheduler",
    "Source",
    "Suppressor",
    "Training",
    "load_config",
]
