"""Containers and codecs: the only module that knows them (PyAV, that is FFmpeg).

Writing generated pictures is reserved to `provenance.seal`; `world` and `data` write rendered truth.
Reading forces the demuxer that the file's first bytes name, because FFmpeg follows what hostile bytes
ask for (playlists, other files, sockets) when it may choose for itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tenku.errors import UserError
from tenku.types import Clip

Frames = npt.NDArray[np.uint8]  # T H W 3

# What a caller may write: ending -> (container, codec, pixel format, codec options).
# crf: the codec's own quality scale, lower is better; threads=1 makes the bytes repeatable.
VIDEO_FORMATS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    ".mp4": ("mp4", "libx264", "yuv420p", {"crf": "14", "preset": "medium", "tune": "animation"}),
    ".webm": ("webm", "libvpx-vp9", "yuv420p", {"crf": "18", "b": "0", "deadline": "good", "cpu-used": "4"}),
    ".gif": ("gif", "gif", "rgb8", {}),
}
IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}

MAX_PIXELS = 4096 * 4096  # one frame of an untrusted file
MAX_DECODED_BYTES = 2 << 30  # all frames of an untrusted file, as RGB


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def encode_video(
    frames: Frames, fps: float, target: Path | BinaryIO, *, container: str, codec: str, pixel_format: str,
    options: dict[str, str] | None = None,
) -> None:
    """Writes frames [T, H, W, 3] to a path or a binary file. yuv420p pads odd sizes by one edge pixel."""
    import av

    if pixel_format == "yuv420p":
        odd_h, odd_w = frames.shape[1] % 2, frames.shape[2] % 2
        frames = np.pad(frames, ((0, 0), (0, odd_h), (0, odd_w), (0, 0)), mode="edge")
    name = target if not isinstance(target, Path) else str(target)
    # faststart opens the finished file again by its name, which a file object has not
    mux = {"movflags": "+faststart"} if container == "mp4" and isinstance(target, Path) else {}
    with av.open(name, mode="w", format=container, options=mux) as out:
        video: Any = out.add_stream(codec, rate=_rate(fps))
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = pixel_format
        video.codec_context.thread_count = 1
        video.options = dict(options or {})
        if pixel_format == "yuv420p":  # say the matrix, or players guess it from the size
            video.codec_context.colorspace, video.codec_context.color_range = 1, 1
            video.codec_context.color_primaries, video.codec_context.color_trc = 1, 1
        for pts, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if pixel_format == "yuv420p":
                frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts = pts
            frame.time_base = 1 / _rate(fps)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))


def write_lossless(frames: Frames, fps: float) -> bytes:
    """Rendered truth as H.264 RGB without loss, in mp4: the same frames give the same bytes."""
    buffer = io.BytesIO()
    encode_video(frames, fps, buffer, container="mp4", codec="libx264rgb", pixel_format="rgb24",
                 options={"crf": "0", "preset": "veryfast"})
    return buffer.getvalue()


def read_lossless(data: bytes) -> Clip:
    """The clip that `write_lossless` wrote, exactly."""
    return _decode(io.BytesIO(data), "mp4")


def sniff(head: bytes) -> str:
    """The demuxer for a file by its first 16 bytes. Raises UserError for what is not a video or an image here."""
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:2] == b"\xff\xd8" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    raise UserError("this file is no video or image that can be read", "mp4, mov, webm, mkv, gif, png, jpg or webp")


def read_clip(path: Path) -> Clip:
    """All frames of a video or image file, as RGB. Raises UserError for a missing, foreign, oversized or broken file."""
    try:
        with path.open("rb") as file:
            kind = sniff(file.read(16))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "give the path of an existing file") from None
    if kind == "image":
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{path.name} has {image.width}x{image.height} pixels", "at most 4096x4096")
                return Clip(np.asarray(image.convert("RGB"))[None].copy(), 1.0)
        except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError):
            raise UserError(f"{path.name} is broken", "try to open it in a viewer") from None
    with path.open("rb") as file:
        return _decode(file, kind)


def _decode(file: BinaryIO, demuxer: str) -> Clip:
    import av

    try:
        with av.open(file, format=demuxer) as source:
            if not source.streams.video:
                raise UserError("the file holds no pictures", "give a file with a video stream")
            video = source.streams.video[0]
            width, height = video.codec_context.width, video.codec_context.height
            if width * height > MAX_PIXELS:
                raise UserError(f"frames of {width}x{height} pixels are too large", "at most 4096x4096")
            limit = MAX_DECODED_BYTES // max(1, width * height * 3)
            fps = float(video.average_rate or 25)
            frames = list(_frames(source, limit))
    except (av.error.FFmpegError, EOFError):
        raise UserError("the video is broken", "try to open it in a player") from None
    if not frames:
        raise UserError("the video holds no frame", "try to open it in a player")
    return Clip(np.stack(frames), fps)


def _frames(source: Any, limit: int) -> Iterator[Frames]:
    for count, frame in enumerate(source.decode(video=0)):
        if count >= limit:
            raise UserError(f"the video decodes to more than {MAX_DECODED_BYTES >> 30} GiB", "cut it into parts")
        if frame.format.name.startswith("yuv"):
            frame = frame.reformat(format="rgb24", src_colorspace=frame.colorspace)
        yield frame.to_ndarray(format="rgb24")
