"""Networks: streaming layers, generators by name, and the discriminators."""

from timbre_restore.models.discriminators import DiscriminatorOutput, Discriminators, DiscriminatorSettings
from timbre_restore.models.generator import CONDITIONINGS, SIZES, Generator, GeneratorSettings, make_generator

__all__ = [
    "CONDITIONINGS",
    "SIZES",
    "DiscriminatorOutput",
    "DiscriminatorSettings",
    "Discriminators",
    "Generator",
    "GeneratorSettings",
    "make_generator",
]
