"""Sound to a finished video: a track that somebody gives, cut to the picture's length.

Like `media.py`, it forces the demuxer that the file's first bytes name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenku.errors import UserError

RATE = 48_000  # samples per second that are written
CODECS = {"mp4": "aac", "matroska": "libopus"}  # container -> what its sound is written as
MAX_BYTES = 1 << 30  # of a sound file
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


def with_sound(video: bytes, container: str, sound: Path, seconds: float) -> bytes:
    """The bytes of an mp4 or webm with a soundtrack: pictures as they are, sound from its beginning, `seconds` long.

    What is shorter ends sooner. The same files give the same bytes. Raises UserError for a sound that cannot be read,
    or a container that holds none.
    """
    import av

    if container not in CODECS:
        raise UserError("this format holds no sound", "end the film's name with .mp4 or .webm")
    kind = kind_of(sound)
    target = io.BytesIO()
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if container == "mp4" else {})}
    name = "webm" if container == "matroska" else container
    try:
        with (av.open(io.BytesIO(video), format=container) as source, sound.open("rb") as file,
              av.open(file, format=kind, metadata_errors="ignore") as track,
              av.open(target, "w", format=name, options=options,
                      io_open=lambda *_: io.BytesIO(target.getvalue())) as out):
            if not track.streams.audio:
                raise UserError(f"{sound.name} holds no sound", "wav, flac, ogg, mp3 or m4a")
            picture = out.add_stream_from_template(source.streams.video[0])
            voice: Any = out.add_stream(CODECS[container], rate=RATE, layout="stereo")
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = picture
                    out.mux(packet)
            for frame in _samples(track, voice.format.name, seconds):
                out.mux(voice.encode(frame))
            out.mux(voice.encode(None))
    except (av.error.FFmpegError, EOFError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{sound.name} is broken", "try to open it in a player") from None
    return target.getvalue()


def _samples(track: Any, form: str, seconds: float) -> Iterator[Any]:
    """The track at RATE in stereo, cut off after `seconds`."""
    import av

    left = round(seconds * RATE)
    resampler = av.AudioResampler(format=form, layout="stereo", rate=RATE)
    fifo = av.AudioFifo()
    done = 0
    for source in [*track.streams.audio[:1]]:
        for frame in track.decode(source):
            for part in resampler.resample(frame):
                part.pts = None
                fifo.write(part)
            while left > 0 and fifo.samples >= min(1024, left):
                piece = fifo.read(min(1024, left))
                piece.pts, done, left = done, done + piece.samples, left - piece.samples
                yield piece
            if left <= 0:
                return
    if (piece := fifo.read(0, partial=True)) is not None and left > 0:
        piece.pts = done
        yield piece
