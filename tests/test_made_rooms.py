"""Rooms from a formula are rooms: they decay as they were told to, and what is far away is drowned in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.voices import FloatArray
from timbre_restore.corpus.rendering.filters import low_passed
from timbre_restore.corpus.rendering.made_room import (
    LATE_S,
    LOWEST_HZ,
    SOUND_M_PER_S,
    Box,
    draw_box,
    is_made_room,
    made_room_name,
    make_room,
    response_of,
)
from timbre_restore.corpus.rendering.rooms import first_room

OFFICE = Box((5.1, 4.3, 2.7), (1.2, 1.4, 1.5), (3.9, 2.8, 1.3), 0.5)


def response(box: Box, seed: int = 0) -> FloatArray:
    return response_of(box, np.random.default_rng(seed))


def between(sound: FloatArray, low_hz: float, high_hz: float) -> FloatArray:
    return low_passed(sound, round(high_hz)) - low_passed(sound, round(low_hz))


def reverberation_s(sound: FloatArray) -> float:
    """T20 of ISO 3382-1: from 5 to 25 dB down in the energy that is still to come (Schroeder 1965), times three."""
    left = np.cumsum(np.square(sound[::-1], dtype=np.float64))[::-1]
    decay_db = 10 * np.log10(left / left[0] + 1e-30)
    return 3 * int(np.argmax(decay_db < -25) - np.argmax(decay_db < -5)) / 48_000


def distance(box: Box) -> float:
    return float(np.linalg.norm(np.subtract(box.source_m, box.microphone_m)))


@pytest.mark.parametrize("seconds", [0.3, 0.6, 1.2])
def test_a_room_decays_in_its_time(seconds: float) -> None:
    tail = response(replace(OFFICE, reverberation_s=seconds))[round(0.02 * 48_000) :]
    assert reverberation_s(between(tail, 700, 1400)) == pytest.approx(seconds, rel=0.12)


def test_the_top_dies_away_first() -> None:
    """By the air alone at 12 kHz and up, and sooner with curtains."""
    bare, curtains = (response(replace(OFFICE, reverberation_s=1.0, tilt=tilt))[960:] for tilt in (0.0, 0.35))
    air, both = (reverberation_s(between(sound, 10_000, 16_000)) for sound in (bare, curtains))
    assert both < 0.75 * air < 0.6
    assert reverberation_s(between(curtains, 60, 200)) > 1.2


def test_the_direct_sound_comes_after_its_way_and_falls_with_it() -> None:
    near = replace(OFFICE, source_m=(3.4, 2.6, 1.3))
    for box in (OFFICE, near):
        sound = response(box)
        first = round(distance(box) / SOUND_M_PER_S * 48_000)
        assert np.argmax(np.abs(sound) > 0.5 / distance(box)) == first
        assert sound[first] == pytest.approx(1.0 / distance(box), rel=0.05)

    def direct_to_rest(box: Box) -> float:
        power = np.square(response(box))
        edge = round(distance(box) / SOUND_M_PER_S * 48_000) + 48
        return float(power[:edge].sum() / power[edge:].sum())

    assert direct_to_rest(near) > 4 * direct_to_rest(OFFICE)


def test_noise_goes_on_with_the_echoes_power() -> None:
    """What mirror images hold before the change, and what noise holds after it, is one decay."""
    steps = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        box = replace(draw_box(rng), reverberation_s=0.8)
        sound = between(response_of(box, rng), 1000, 4000)
        before = np.mean(np.square(sound[round(0.6 * LATE_S * 48_000) : round(0.8 * LATE_S * 48_000)]))
        after = np.mean(np.square(sound[round(1.0 * LATE_S * 48_000) : round(1.2 * LATE_S * 48_000)]))
        steps.append(10 * np.log10(before / after))
    assert np.median(steps) == pytest.approx(60 * 0.4 * LATE_S / 0.8, abs=1.0)


def test_a_name_is_a_room() -> None:
    names = [made_room_name(seed) for seed in range(30)]
    rooms = [make_room(name) for name in names]
    assert all(is_made_room(name) for name in names)
    assert not any(is_made_room(name) for name in ("hall.wav", "made:room:1.flac", "made:tonal:1"))
    assert np.array_equal(make_room(names[3]), rooms[3])
    assert len({room.tobytes() for room in rooms}) == len(rooms)
    for room in rooms:
        assert np.isfinite(room).all() and len(room) <= 2 * 48_000
        spectrum = np.abs(np.fft.rfft(room))
        hertz = np.fft.rfftfreq(len(room), 1 / 48_000)
        assert spectrum[0] < 0.5 * spectrum[(hertz > 2 * LOWEST_HZ) & (hertz < 1000)].mean()
    name, cut = first_room((names[0],), Path("nowhere"), [])
    assert name == names[0] and cut is not None
    assert cut[0] == 1.0 and np.abs(cut).max() == 1.0


def test_boxes_hold_what_is_in_them() -> None:
    boxes = [draw_box(np.random.default_rng(seed)) for seed in range(300)]
    for box in boxes:
        for place in (box.source_m, box.microphone_m):
            assert all(0.2 < x < edge - 0.2 for x, edge in zip(place, box.size_m, strict=True))
        assert 0.12 <= box.reverberation_s <= 2.0
    ways = [distance(box) for box in boxes]
    assert min(ways) > 0.1 and max(ways) < 6.0
    assert np.percentile(ways, 10) < 0.6 and np.percentile(ways, 90) > 2.0
