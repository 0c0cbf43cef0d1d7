"""Speech for the demonstration: an offline voice if one is installed, a synthetic one otherwise.

The offline voice is Open JTalk's through pyopenjtalk-plus, which brings its dictionary and the 48 kHz voice 'Mei'
(CC BY 3.0, MMDAgent Project Team, Nagoya Institute of Technology). One voice at several pitches and speeds stands in
for several speakers: enough to show the workflow, and far too little to train on.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from timbre_restore.apps.made_voice import Speaker, made_voice
from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, resample

SENTENCES = (
    "今朝は少し寒いので、温かいスープを作りました。",
    "駅前の静かな喫茶店で、四時に待ち合わせをしましょう。",
    "雨が止んだら、子どもたちと一緒に海岸を散歩します。",
    "この資料を確認して、質問があれば早めに知らせてください。",
    "新しい自転車は軽くて速いけれど、坂道では息が切れます。",
    "七月の週末に、姉は札幌で写真の展示会を開きます。",
    "冷蔵庫に卵と牛乳が残っているか、ちょっと見てくれる。",
    "すすきの草原を、冷たい風がさらさらと吹き抜けていく。",
    "会議は三十分ほど遅れて、五階の部屋で始まりました。",
    "先生は静かに本を閉じて、窓の外の夕焼けを見つめた。",
    "猫がストーブの前で、気持ちよさそうに眠っています。",
    "切符を失くしたので、改札で事情を説明しました。",
)
MADE_SECONDS = 4.5


@dataclass(frozen=True)
class DemoSpeaker:
    """One simulated speaker, for either voice."""

    name: str
    half_tones: float
    speed: float
    made: Speaker


SPEAKERS = (
    DemoSpeaker("low", -5.0, 0.95, Speaker(105.0, 0.95, 4.0)),
    DemoSpeaker("middle", -1.0, 1.10, Speaker(150.0, 1.05, 5.0)),
    DemoSpeaker("high", 4.0, 1.05, Speaker(215.0, 1.17, 4.8)),
    DemoSpeaker("held_out", 1.5, 0.90, Speaker(180.0, 1.10, 4.3)),
)


def has_offline_voice() -> bool:
    """Whether pyopenjtalk-plus is installed."""
    return importlib.util.find_spec("pyopenjtalk") is not None


def speak(speaker: DemoSpeaker, sentence: int) -> FloatArray:
    """Sentence number `sentence` by `speaker`: `[T]` at 48 kHz, peak 0.5."""
    if has_offline_voice():
        import pyopenjtalk

        samples, rate_hz = pyopenjtalk.tts(SENTENCES[sentence], speed=speaker.speed, half_tone=speaker.half_tones)
        voice = resample(np.asarray(samples, dtype=np.float32), int(rate_hz), SAMPLE_RATE_HZ)
    else:
        voice = made_voice(speaker.made, MADE_SECONDS, seed=sentence)
    return np.asarray(0.5 * voice / np.max(np.abs(voice)), dtype=np.float32)
