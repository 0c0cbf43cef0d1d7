"""Loss functions with arguments in the order (estimate, reference), each returning one value per item `[B]`.

The mean over items is left to the training step, so that several processes with different numbers of items give the
same result as one process that holds all of them.
"""

from timbre_restore.losses.adversarial import (
    discriminator_fake,
    discriminator_real,
    feature_matching,
    generator_adversarial,
)
from timbre_restore.losses.cells import Cells
from timbre_restore.losses.compressed import CompressedSpectrum
from timbre_restore.losses.mel import MultiScaleMel
from timbre_restore.losses.objective import RECONSTRUCTION, Objective
from timbre_restore.losses.perceptual import Perceptual
from timbre_restore.losses.reconstruction import MultiResolutionSTFT, item_gain, l1
from timbre_restore.losses.waveform import Waveform

__all__ = [
    "RECONSTRUCTION",
    "Cells",
    "CompressedSpectrum",
    "MultiResolutionSTFT",
    "MultiScaleMel",
    "Objective",
    "Perceptual",
    "Waveform",
    "discriminator_fake",
    "discriminator_real",
    "feature_matching",
    "generator_adversarial",
    "item_gain",
    "l1",
]
