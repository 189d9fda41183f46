"""Soundtracks: as long as the picture, repeatable, and files that are none are said."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from scenes import scene

from tenku import media, untrusted
from tenku.errors import UserError
from tenku.provenance import manifest
from tenku.provenance.seal import Model, seal
from tenku.sound import kind_of, with_sound
from tenku.types import Clip


def tone(path: Path, seconds: float, rate: int = 22_050) -> Path:
    """A 440 Hz tone in mono."""
    samples = (np.sin(np.arange(round(seconds * rate)) / rate * 440 * 2 * np.pi) * 12_000).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def heard(data: bytes, kind: str) -> tuple[np.ndarray, int]:
    """Samples of the first channel, and the rate."""
    with av.open(io.BytesIO(data), format=kind) as source:
        parts = [frame.to_ndarray() for frame in source.decode(audio=0)]
        return np.concatenate([part[0] for part in parts]), source.streams.audio[0].rate


@pytest.mark.parametrize(("ending", "kind"), [(".mp4", "mp4"), (".webm", "matroska")])
@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_a_tone_goes_with_the_picture(ending, kind, seconds, tmp_path):
    sound = tone(tmp_path / "a.wav", seconds)
    clip = Clip(scene(17, 64, 48), 16.0)
    silent = media.encode(clip, ending)
    given = untrusted.samples(sound, clip.seconds)
    data = with_sound(silent, kind, given)
    assert data == with_sound(silent, kind, given)
    samples, rate = heard(data, kind)
    assert len(samples) / rate == pytest.approx(min(seconds, clip.seconds), abs=0.06)
    middle = samples[rate // 10 : rate // 10 + 4096].astype(float)
    peak = np.fft.rfftfreq(4096, 1 / rate)[np.abs(np.fft.rfft(middle * np.hanning(4096))).argmax()]
    assert peak == pytest.approx(440, abs=15)
    assert np.array_equal(media.decode(io.BytesIO(data), kind).frames, media.decode(io.BytesIO(silent), kind).frames)


def test_a_sealed_clip_with_sound_is_whole(tmp_path):
    path = tmp_path / "film.mp4"
    sound = tone(tmp_path / "a.wav", 2)
    seal(Clip(scene(17), 16.0), {"film": "x"}, path, model=Model("tenku-tiny", "0" * 64, ()), sound=sound)
    assert manifest.read(path).signature is manifest.Signature.TRUSTED
    assert len(heard(path.read_bytes(), "mp4")[0])


@pytest.mark.parametrize("head", [b"", b"#EXTM3U\nhttp://127.0.0.1/", b"ffconcat version 1.0", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_sound_is_said(head, tmp_path):
    (tmp_path / "a.wav").write_bytes(head)
    with pytest.raises(UserError, match="no sound"):
        kind_of(tmp_path / "a.wav")
    with pytest.raises(UserError, match="cannot read"):
        kind_of(tmp_path / "b.wav")


def test_a_broken_sound_and_a_silent_format_are_said(tmp_path):
    silent = media.encode(Clip(scene(9, 64, 48), 16.0), ".mp4")
    (tmp_path / "a.flac").write_bytes(b"fLaC" + b"\xff" * 64)
    with pytest.raises(UserError, match=r"a\.flac is broken"):
        untrusted.samples(tmp_path / "a.flac", 1.0)
    with pytest.raises(UserError, match="holds no sound"):
        with_sound(silent, "gif", bytes(4000))
    (tmp_path / "c.m4a").write_bytes(silent)
    with pytest.raises(UserError, match=r"c\.m4a holds no sound"):
        untrusted.samples(tmp_path / "c.m4a", 1.0)


@pytest.mark.parametrize(("kind", "codec"), [("flac", "flac"), ("ogg", "libopus"), ("mp3", "libmp3lame"),
                                             ("ipod", "aac")])
def test_every_kind_is_decoded_in_a_process_of_its_own(kind, codec, tmp_path):
    path = tmp_path / "a.sound"
    with av.open(str(path), "w", format=kind) as out, av.open(str(tone(tmp_path / "a.wav", 1))) as source:
        voice = out.add_stream(codec, rate=48_000, layout="stereo")
        turned = av.AudioResampler(format=voice.format.name, layout="stereo", rate=48_000,
                                   frame_size=voice.codec_context.frame_size or 1024)
        for frame in [*source.decode(audio=0), None]:
            for part in turned.resample(frame):
                out.mux(voice.encode(part))
        out.mux(voice.encode(None))
    heard = np.frombuffer(untrusted.samples(path, 0.5), np.int16).reshape(-1, 2)
    assert len(heard) == 24_000
    peak = np.fft.rfftfreq(4096, 1 / 48_000)[np.abs(np.fft.rfft(heard[9000:13_096, 0] * np.hanning(4096))).argmax()]
    assert peak == pytest.approx(440, abs=15)
