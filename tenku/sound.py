"""Sound to a finished video: a track that somebody gives, cut to the picture's length.

Like `media.py`, it forces the demuxer that the file's first bytes name; `untrusted.py` runs `decode`.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tenku.errors import UserError

RATE = 48_000  # samples per second that are written
CODECS = {"mp4": "aac", "matroska": "libopus"}  # container -> what its sound is written as
MAX_BYTES = 1 << 30  # of a sound file
_SAMPLE = 4  # bytes: two channels of 16 bits
_PIECE = 1024  # samples that are encoded at once
_KINDS = ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"))


def kind_of(path: Path) -> str:
    """wav, flac, ogg, mp3 or mp4, by a file's first bytes. Raises UserError for all else."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "give the path of a sound file") from None
    if size > MAX_BYTES:
        raise UserError(f"{path.name} is too large for a soundtrack", f"at most {MAX_BYTES >> 30} GiB")
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    for start, kind in _KINDS:
        if head.startswith(start):
            return kind
    raise UserError(f"{path.name} is no sound that can be read", "wav, flac, ogg, mp3 or m4a")


def decode(file: BinaryIO, kind: str, name: str, seconds: float) -> bytes:
    """The first seconds of a file's sound: samples of 16 bits, left and right in turn, RATE of each a second.

    kind: what `kind_of` says; name: what errors call it. Raises UserError for a sound that cannot be read.
    """
    import av

    out, left = io.BytesIO(), round(seconds * RATE) * _SAMPLE
    try:
        with av.open(file, format=kind, metadata_errors="ignore") as track:
            if not track.streams.audio:
                raise UserError(f"{name} holds no sound", "wav, flac, ogg, mp3 or m4a")
            resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
            for frame in itertools.chain(track.decode(track.streams.audio[0]), (None,)):  # None empties the resampler
                for part in resampler.resample(frame):
                    left -= out.write(part.to_ndarray().tobytes()[:left])
                if left <= 0:
                    break
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} is broken", "try to open it in a player") from None
    return out.getvalue()


def warm_up() -> None:
    """Decodes a sound of our own: what libraries load late, they load now."""
    size = struct.pack("<I", 64)
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE // 2, RATE, 2, 16)
    data = b"RIFF" + struct.pack("<I", 100) + b"WAVE" + head + b"data" + size + bytes(64)
    for part in (data, data[:20]):
        with contextlib.suppress(UserError):
            decode(io.BytesIO(part), "wav", "", 1.0)


def with_sound(video: bytes, container: str, samples: bytes) -> bytes:
    """The bytes of an mp4 or webm with a soundtrack: pictures as they are, sound from its beginning.

    samples: as `decode` gives them. The same ones give the same bytes. Raises UserError for a container that holds no
    sound.
    """
    import av

    if container not in CODECS:
        raise UserError("this format holds no sound", "end the film's name with .mp4 or .webm")
    target = io.BytesIO()
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if container == "mp4" else {})}
    name = "webm" if container == "matroska" else container
    with (av.open(io.BytesIO(video), format=container) as source,
          av.open(target, "w", format=name, options=options,
                  io_open=lambda *_: io.BytesIO(target.getvalue())) as out):
        picture = out.add_stream_from_template(source.streams.video[0])
        voice: Any = out.add_stream(CODECS[container], rate=RATE, layout="stereo")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                out.mux(packet)
        for frame in _frames(samples, voice.format.name):
            out.mux(voice.encode(frame))
        out.mux(voice.encode(None))
    return target.getvalue()


def _frames(samples: bytes, form: str) -> Iterator[Any]:
    """Samples as FFmpeg's frames in the codec's format."""
    import av
    import numpy as np

    turned = av.AudioResampler(format=form, layout="stereo", rate=RATE)
    every = np.frombuffer(samples, np.int16).reshape(1, -1)
    for start in range(0, every.shape[1], 2 * _PIECE):
        frame: Any = av.AudioFrame.from_ndarray(every[:, start:start + 2 * _PIECE], format="s16", layout="stereo")
        frame.sample_rate, frame.pts = RATE, start // 2
        yield from turned.resample(frame)
