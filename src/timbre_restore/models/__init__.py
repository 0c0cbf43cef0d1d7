"""Networks: streaming layers, generators by name, and the discriminators."""

from timbre_restore.models.discriminators import Discriminators, DiscriminatorSettings, Verdict
from timbre_restore.models.generator import CONDITIONINGS, SIZES, Generator, GeneratorSettings, make_generator

__all__ = [
    "CONDITIONINGS",
    "SIZES",
    "DiscriminatorSettings",
    "Discriminators",
    "Generator",
    "GeneratorSettings",
    "Verdict",
    "make_generator",
]
