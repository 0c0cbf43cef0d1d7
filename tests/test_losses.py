"""Losses against written-out sums, known signals and the rules of the game."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.voices import noise, voice
from timbre_restore.losses import (
    Cells,
    CompressedSpectrum,
    MultiResolutionSTFT,
    MultiScaleMel,
    Objective,
    Perceptual,
    Waveform,
    discriminator_fake,
    discriminator_real,
    feature_matching,
    generator_adversarial,
    item_gain,
    l1,
)
from timbre_restore.losses.mel import mel_filters
from timbre_restore.losses.perceptual import bark_bands


def waves(items: int = 3, samples: int = 4800, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(items, 1, samples, generator=torch.Generator().manual_seed(seed))


def test_l1_is_a_mean_per_item() -> None:
    reference = waves()
    estimate = reference + torch.tensor([0.0, 0.1, -0.2])[:, None, None]
    assert torch.allclose(l1(estimate, reference), torch.tensor([0.0, 0.1, 0.2]), atol=1e-7)


def test_multi_stft_equals_its_written_out_definition() -> None:
    estimate, reference = waves(2, 2048, 1), waves(2, 2048, 2)
    size, floor = 512, 1e-5
    value = MultiResolutionSTFT((size,), floor)(estimate, reference)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    for item in range(2):
        spectra = []
        for signal in (estimate, reference):
            x = signal[item, 0].double().numpy()
            frames = [x[start : start + size] * window for start in range(0, 2048 - size + 1, size // 4)]
            spectra.append(np.array([np.abs(np.fft.rfft(frame)) for frame in frames]) / (size / 4))
        e, r = spectra
        convergence = np.linalg.norm(r - e) / np.linalg.norm(r)
        distance = np.mean(np.abs(np.log10(r + floor) - np.log10(e + floor)))
        assert value[item].item() == pytest.approx(convergence + distance, rel=1e-4)


def test_a_full_scale_sine_peaks_at_one() -> None:
    t = torch.arange(4096) / 48_000
    sine = torch.sin(2 * math.pi * 3000 * t)[None, None]
    for magnitude in MultiResolutionSTFT().magnitudes(sine):
        assert magnitude.max().item() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("gain_db", [-6.0, -20.0])
def test_a_change_of_level_costs_its_bels(gain_db: float) -> None:
    reference = waves(1, 8192)
    value = MultiResolutionSTFT()(reference * 10 ** (gain_db / 20), reference)
    convergence = 1 - 10 ** (gain_db / 20)
    assert value.item() == pytest.approx(convergence + abs(gain_db) / 20, rel=0.02)


def test_identity_costs_nothing_and_silence_has_a_gradient() -> None:
    reference = waves()
    assert MultiResolutionSTFT()(reference, reference).abs().max() < 1e-2  # the floor of the root
    silent = torch.zeros(1, 1, 4800, requires_grad=True)
    MultiResolutionSTFT()(silent, torch.zeros(1, 1, 4800)).sum().backward()
    assert torch.isfinite(silent.grad).all()


def test_compressed_losses_equal_their_written_out_definitions() -> None:
    estimate, reference = waves(2, 2880, 1), waves(2, 2880, 2)
    values = CompressedSpectrum()(estimate, reference, ("compressed", "over_attenuation"))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(960) / 960)
    for item in range(2):
        e, r = (
            np.array([np.fft.rfft(x[item, 0].double().numpy()[at : at + 960] * window) for at in range(0, 1921, 480)])
            / 240
            for x in (estimate, reference)
        )
        missing = np.abs(r) ** 0.3 - np.abs(e) ** 0.3
        whole = np.abs(r) ** 0.3 * np.exp(1j * np.angle(r)) - np.abs(e) ** 0.3 * np.exp(1j * np.angle(e))
        expected = 0.7 * np.mean(missing**2) + 0.3 * np.mean(np.abs(whole) ** 2)
        assert values["compressed"][item].item() == pytest.approx(expected, rel=1e-4)
        assert values["over_attenuation"][item].item() == pytest.approx(np.mean(np.maximum(missing, 0) ** 2), rel=1e-4)


def test_silence_punishes_what_sounds_where_the_reference_holds_nothing() -> None:
    loss, half = CompressedSpectrum(), 4800
    voice = waves(1, half)
    reference = torch.cat([voice, torch.zeros(1, 1, half)], dim=-1)
    noise = 0.01 * torch.randn(1, 1, half, generator=torch.Generator().manual_seed(9))
    under_voice = reference + torch.cat([noise, torch.zeros_like(noise)], dim=-1)
    in_silence = reference + torch.cat([torch.zeros_like(noise), noise], dim=-1)
    both = [loss(x, reference, ("silence",))["silence"].item() for x in (under_voice, in_silence, 0.1 * reference)]
    assert both[1] > 1e-3
    assert both[0] < both[1] / 20  # the frame that reaches across the border
    assert both[2] == 0.0
    # Written out: cells below -80 dB of a full-scale sine, too much only, to the power of 0.3.
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(960) / 960)
    e, r = (
        np.array([np.abs(np.fft.rfft(x[0, 0].double().numpy()[at : at + 960] * window)) for at in range(0, 8641, 480)])
        / 240
        for x in (in_silence, reference)
    )
    more = np.maximum(np.sqrt(e**2 + 1e-12) ** 0.3 - np.sqrt(r**2 + 1e-12) ** 0.3, 0) ** 2 * (r < 1e-4)
    assert both[1] == pytest.approx(more.mean(), rel=1e-4)


def test_mel_filters_hear_each_tone_in_the_band_that_holds_it() -> None:
    for window, bands in ((2048, 320), (512, 80), (32, 5)):
        filters = mel_filters(window, bands)
        assert torch.allclose(filters.sum(dim=1), torch.ones(bands), atol=1e-6)
        centres = (filters @ torch.linspace(0, 24_000, window // 2 + 1)).tolist()
        assert centres == sorted(centres)
        mel = [2595 * math.log10(1 + hz / 700) for hz in centres]
        steps = np.diff(mel[bands // 2 :])  # where a band is wider than a bin they are even
        assert steps.std() < 0.25 * steps.mean()


def test_mel_costs_a_change_of_level_its_bels_and_hears_where() -> None:
    loss, reference = MultiScaleMel(), waves(2, 9600)
    assert loss(reference, reference).abs().max() == 0
    assert loss(0.1 * reference, reference)[0].item() == pytest.approx(1.0, rel=0.02)
    t = torch.arange(9600) / 48_000
    low, near, far = (torch.sin(2 * math.pi * hz * t)[None, None] for hz in (1000.0, 1030.0, 6000.0))
    assert 0 < loss(near, low).item() < loss(far, low).item() / 2


def slow_cells(x: torch.Tensor) -> np.ndarray:
    """Power of each bin and frame `[bins, N]`, Hann 1536, hop 480."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1536) / 1536)
    samples = x.double().numpy()
    starts = range(0, len(samples) - 1535, 480)
    return np.stack([np.abs(np.fft.rfft(samples[at : at + 1536] * window)) ** 2 for at in starts], axis=1)


def test_cells_equals_its_written_out_definition() -> None:
    estimate, reference = waves(2, 24_000, 1), waves(2, 24_000, 2)
    estimate[0, :, 12_000:] *= 0.05
    reference[1, :, :6_000] *= 1e-5
    found = Cells()(estimate, reference)
    hz = np.arange(1, 641) * 31.25
    erb = 21.4 * np.log10(1 + 0.00437 * hz)
    band = np.minimum((48 * (erb - erb[0]) / (erb[-1] - erb[0])).astype(int), 47)
    bins = [1 + np.flatnonzero(band == b) for b in np.unique(band)]
    for item in range(2):
        e, r = (np.stack([slow_cells(x[item, 0])[own].sum(axis=0) for own in bins]) for x in (estimate, reference))
        floor = 10**-8.5 * 0.375 * 1536 * np.array([[len(own)] for own in bins])
        active = (r >= r.max(axis=1, keepdims=True) * 10**-2.5) & (r > floor)
        off = np.maximum(np.abs(10 * np.log10((e + floor) / (r + floor))) - 5, 0) / 10
        assert active.sum() > 200
        assert found[item].item() == pytest.approx(off[active].mean(), rel=1e-4)


@pytest.mark.parametrize("gain_db", [-25.0, -4.0, 0.0, 4.0, 25.0])
def test_cells_costs_a_change_of_level_what_lies_beyond_five_decibels(gain_db: float) -> None:
    reference = waves(1, 24_000)
    value = Cells()(10 ** (gain_db / 20) * reference, reference)
    assert value.item() == pytest.approx(max(abs(gain_db) - 5, 0) / 10, abs=0.01)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_cells_hears_the_upper_octaves_however_faint_they_are(slope: float) -> None:
    spectrum = torch.fft.rfft(waves(1, 48_000))
    hz = torch.linspace(0, 24_000, spectrum.shape[-1])
    falling = spectrum / hz.clamp_min(100.0) ** slope
    reference, dull = (torch.fft.irfft(x) for x in (falling, torch.where(hz > 8_000, 0.03 * falling, falling)))
    gain = 0.1 / reference.square().mean().sqrt()
    upper, whole = (Cells()(gain * x, gain * reference).item() for x in (dull, 0.03 * reference))
    assert upper / whole == pytest.approx(9 / 48, abs=0.025)  # of the bands lie up there


def test_cells_has_a_gradient_in_silence_and_minds_no_pause() -> None:
    loss, silence = Cells(), torch.zeros(1, 1, 9600, requires_grad=True)
    value = loss(silence, torch.zeros(1, 1, 9600))
    value.sum().backward()
    assert value.item() == 0.0 and silence.grad is not None and torch.isfinite(silence.grad).all()
    spoken = torch.cat([waves(1, 48_000), torch.zeros(1, 1, 48_000)], dim=-1)
    noisy_pause = spoken + torch.cat([torch.zeros(1, 1, 49_536), waves(1, 46_464, seed=3)], dim=-1)
    assert loss(noisy_pause, spoken).item() < 1e-6
    loss(silence, waves(1, 9600)).sum().backward()
    assert torch.isfinite(silence.grad).all()


@pytest.mark.parametrize("level_dbfs", [-66.0, -90.0])
def test_cells_takes_no_room_tone_and_no_rounding_for_a_voice(level_dbfs: float) -> None:
    """Without a voice each band's peak is a pause's, and all cells lie near it. Items are evened up before."""
    tone = waves(1, 48_000)
    tone = tone * 10.0 ** (level_dbfs / 20.0) / tone.square().mean().sqrt()
    gain = item_gain(tone)
    assert Cells()(0.1 * gain * tone, gain * tone).item() == 0.0
    spoken = waves(1, 48_000)
    assert Cells()(0.1 * item_gain(spoken) * spoken, item_gain(spoken) * spoken).item() > 1.0


def test_objective_gives_each_loss_that_has_a_weight_by_its_name() -> None:
    estimate, reference = waves(2, 9600, 1), waves(2, 9600, 2)
    values = Objective({"l1": 1.0, "multi_stft": 1.0, "mel": 1.0, "silence": 2.0, "adversarial": 1.0})(
        Waveform(estimate), Waveform(reference)
    )
    assert list(values) == ["l1", "multi_stft", "mel", "silence"]
    assert torch.equal(values["l1"], l1(estimate, reference))
    assert torch.equal(values["multi_stft"], MultiResolutionSTFT()(estimate, reference))
    assert torch.equal(values["mel"], MultiScaleMel()(estimate, reference))


def test_a_cut_sound_has_the_spectra_of_the_cut_wave() -> None:
    sound, window, odd = Waveform(waves(3, 9600)), torch.hann_window(1024), torch.hann_window(960)
    sound.spectrum(window, 256)
    sound.spectrum(odd, 480)
    part = sound.cut([0, 512, 2560], 4096)
    plain = Waveform(torch.stack([sound.wave[i, :, at : at + 4096] for i, at in enumerate((0, 512, 2560))]))
    assert torch.equal(part.wave, plain.wave)
    assert list(part.quarter_hop_spectra) == [1024]  # 512 is no hop of 480
    for w, hop in ((window, 256), (odd, 480)):
        assert torch.allclose(part.spectrum(w, hop), plain.spectrum(w, hop), atol=1e-5)


def test_over_attenuation_punishes_only_what_is_missing() -> None:
    reference, loss = waves(1), CompressedSpectrum()
    louder, half, quarter = (loss(gain * reference, reference, ("over_attenuation",)) for gain in (2.0, 0.5, 0.25))
    assert louder["over_attenuation"].item() == 0.0 and set(louder) == {"over_attenuation"}
    ratio = ((1 - 0.5**0.3) / (1 - 0.25**0.3)) ** 2
    assert half["over_attenuation"].item() == pytest.approx(ratio * quarter["over_attenuation"].item(), rel=1e-3)


def test_compressed_losses_have_a_gradient_in_silence() -> None:
    silence = torch.zeros(1, 1, 1920, requires_grad=True)
    sum(CompressedSpectrum()(silence, torch.zeros(1, 1, 1920), ("compressed", "over_attenuation")).values()).backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()


def test_perceptual_equals_its_written_out_definition() -> None:
    estimate, reference = waves(2, 48_000, 1), waves(2, 48_000, 2)
    estimate[:, :, :24_000] *= 0.03  # far too quiet, and too loud in places
    reference[:, :, 36_000:] *= 0.01
    found = Perceptual()(estimate, reference)
    hz = np.arange(1, 257) * 31.25
    bark = np.floor(2 * (13 * np.arctan(0.76 * hz / 1e3) + 3.5 * np.arctan((hz / 7.5e3) ** 2))).astype(int)
    bands = np.unique(bark)
    quiet_db = 3.64 * (hz / 1e3) ** -0.8 - 6.5 * np.exp(-0.6 * (hz / 1e3 - 3.3) ** 2) + 1e-3 * (hz / 1e3) ** 4
    quiet = np.array([10 ** (np.mean(quiet_db[bark == b]) / 10) for b in bands])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1536) / 1536)
    unit = 10**7.9 / (0.01 * 1536 * np.sum(window**2) / 2)

    def loudness(power: np.ndarray) -> np.ndarray:
        level = np.maximum(0.5 + 0.5 * power / quiet, 1)
        return np.asarray(0.187 * (quiet / 0.5) ** 0.23 * (level**0.23 - 1))

    for item in range(2):
        symmetric, asymmetric = [], []
        for at in range(0, 48_000 - 1535, 768):
            powers = []
            for x in (estimate, reference):
                cells = np.abs(np.fft.rfft(x[item, 0, at : at + 1536].double().numpy() * window))[1:257] ** 2
                powers.append(unit * np.array([np.sum(cells[bark == b]) for b in bands]))
            e, r = powers
            e = e * np.clip((np.sum(r[r > quiet]) + 5e3) / (np.sum(e[e > quiet]) + 5e3), 3e-4, 5)
            e_loud, r_loud = loudness(e), loudness(r)
            d = 0.5 * np.maximum(np.abs(e_loud - r_loud) - 0.25 * np.minimum(e_loud, r_loud), 0)
            h = ((e + 50) / (r + 50)) ** 1.2
            h = np.where(h < 3, 0, np.minimum(h, 12))
            whole = 0.5 * len(bands)
            symmetric.append(min(whole * np.sqrt(np.sum(d**2) / whole), 45))
            asymmetric.append(min(np.sum(h * d), 45))
        expected = 0.0
        for weight, frames in ((0.1, np.array(symmetric)), (0.0309, np.array(asymmetric))):
            syllables = [np.mean(frames[i : i + 20] ** 6) ** (1 / 6) for i in range(0, len(frames) - 19, 10)]
            expected += weight * np.sqrt(np.mean(np.square(syllables)))
        assert found[item].item() == pytest.approx(expected, rel=1e-3)


def test_perceptual_hears_what_is_minded() -> None:
    loss = Perceptual()
    clean = torch.from_numpy(voice(2.0, seed=1))[None, None]
    clean = clean * item_gain(clean)
    hiss = torch.from_numpy(noise(2.0, 2, level=0.02))[None, None]
    loud, faint = (loss(clean + gain * hiss, clean).item() for gain in (1.0, 0.1))
    assert loss(clean, clean).item() < 1e-3
    assert 2 * faint < loud < 3.5
    assert loss(2.0 * clean, clean).item() < 0.1 * loud, "the level of a frame is made even"
    spectrum = torch.fft.rfft(clean)
    above = torch.fft.irfft(spectrum * (torch.arange(spectrum.shape[-1]) < 9_000 * 2), n=clean.shape[-1])
    assert loss(above, clean).item() < 0.02, "it hears nothing above 8 kHz"
    spectrum[..., 2 * 1_000 : 2 * 4_000] *= 0.1
    assert loss(torch.fft.irfft(spectrum, n=clean.shape[-1]), clean).item() > 0.5


def test_perceptual_has_a_gradient_in_silence_and_in_short_items() -> None:
    for samples in (4_800, 48_000):
        silence = torch.zeros(1, 1, samples, requires_grad=True)
        Perceptual()(silence, torch.zeros(1, 1, samples)).sum().backward()
        assert silence.grad is not None and torch.isfinite(silence.grad).all()


def test_an_even_sine_is_heard_at_79_db() -> None:
    bands, _ = bark_bands()
    sine = 0.1 * math.sqrt(2) * torch.sin(2 * math.pi * 1_000 * torch.arange(48_000) / 48_000)
    spectrum = torch.stft(sine, 1536, 768, window=torch.hann_window(1536), center=False, return_complex=True)
    power = bands @ spectrum[: bands.shape[1]].abs().square()
    assert 10 * torch.log10(power.sum(dim=0)).mean().item() == pytest.approx(79.0, abs=0.05)


def test_perceptual_follows_pesq() -> None:
    """A voice in two noises at four levels, and with holes: as the program of P.862.2 orders them."""
    pytest.importorskip("pesq", reason="pesq needs a C compiler")
    from timbre_restore.metrics import pesq_wb

    clean = voice(3.0, seed=0)
    pink = np.convolve(noise(3.0, 0, level=0.3), np.exp(-np.arange(48) / 12), "same").astype(np.float32)
    estimates = [clean + gain * hiss for hiss in (pink, noise(3.0, 7, level=0.3)) for gain in (1, 0.1, 0.03, 0.01)]
    estimates += [clean * (np.arange(len(clean)) // 960 % every > 0) for every in (12, 6)]
    scores, losses = [], []
    for estimate in (x.astype(np.float32) for x in estimates):
        ours, theirs = (torch.from_numpy(x)[None, None] for x in (estimate, clean))
        gain = item_gain(theirs)
        losses.append(Perceptual()(ours * gain, theirs * gain).item())
        # The curve of P.862.2, read backwards: a raw score.
        scores.append((3.8224 - math.log(4 / (pesq_wb(estimate, clean) - 0.999) - 1)) / 1.3669)
    assert np.corrcoef(scores, losses)[0, 1] < -0.88


def test_item_gain_evens_levels_and_leaves_silence() -> None:
    clean = waves(2) * torch.tensor([1.0, 0.05])[:, None, None]
    levels = (clean * item_gain(clean)).square().mean(dim=(1, 2)).sqrt()
    assert torch.allclose(levels, torch.full((2,), 0.1), rtol=1e-4)
    assert item_gain(torch.zeros(1, 1, 480)).item() == pytest.approx(100 / 3)


def test_an_item_of_silence_does_not_outweigh_a_batch() -> None:
    """White noise at the floor's own level costs one against silence, besides its logarithm."""
    hiss = 0.05 * torch.randn(1, 1, 48_000, generator=torch.Generator().manual_seed(0))
    silence = torch.zeros(1, 1, 48_000)
    magnitude = MultiResolutionSTFT().magnitudes(hiss)[0]
    bels = torch.log10(magnitude + 1e-5).mean().item() + 5
    assert MultiResolutionSTFT((2048,))(hiss, silence).item() == pytest.approx(1 + bels, rel=0.02)


def test_hinge_at_its_corners() -> None:
    confident, fooled, unsure = torch.full((2, 1, 5), 2.0), torch.full((2, 1, 5), -2.0), torch.zeros(2, 1, 5)
    assert discriminator_real([confident], "hinge").tolist() == [0.0, 0.0]
    assert discriminator_real([fooled], "hinge").tolist() == [3.0, 3.0]
    assert discriminator_fake([fooled], "hinge").tolist() == [0.0, 0.0]
    assert discriminator_fake([unsure], "hinge").tolist() == [1.0, 1.0]
    assert generator_adversarial([confident], "hinge").tolist() == [-2.0, -2.0]


def test_lsgan_at_its_corners() -> None:
    one, zero = torch.ones(2, 1, 5), torch.zeros(2, 1, 5)
    assert discriminator_real([one], "lsgan").tolist() == [0.0, 0.0]
    assert discriminator_fake([one], "lsgan").tolist() == [1.0, 1.0]
    assert generator_adversarial([zero], "lsgan").tolist() == [1.0, 1.0]


def test_members_count_alike_whatever_their_size() -> None:
    scores = [torch.zeros(1, 1, 1000), torch.full((1, 1, 2), 2.0)]
    assert discriminator_fake(scores, "hinge").item() == pytest.approx((1 + 3) / 2)


def test_feature_matching_is_relative_and_gives_no_gradient_to_the_clean_side() -> None:
    clean = torch.ones(1, 4, 6, requires_grad=True)
    ours = torch.full((1, 4, 6), 1.5, requires_grad=True)
    small, large = feature_matching([[ours]], [[clean]]), feature_matching([[100 * ours]], [[100 * clean]])
    assert small.item() == pytest.approx(0.5, rel=1e-3)
    assert large.item() == pytest.approx(0.5, rel=1e-3)
    quiet = feature_matching([[ours]], [[1e-6 * clean]])
    assert 3.9 < quiet.item() < 5.0, "a silent item does not outweigh the others"
    small.sum().backward()
    assert clean.grad is None
    assert ours.grad is not None
