"""Networks: streaming bricks, the generator, the discriminators."""

from timbre_restore.models.discriminators import Discriminators, DiscriminatorSettings, Verdict
from timbre_restore.models.unet import UNet, UNetSettings

__all__ = ["DiscriminatorSettings", "Discriminators", "UNet", "UNetSettings", "Verdict"]
