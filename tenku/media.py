"""Containers and codecs: with `growing`, `spans` and `sound` all that knows them (PyAV, that is FFmpeg).

Writing generated pictures is for `provenance.seal`; `world` and `data` write rendered truth. Reading forces the demuxer
that a file's first bytes name: FFmpeg, left to choose, follows what hostile bytes ask for (playlists, files, sockets).
"""

from __future__ import annotations

import io
import math
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
# crf: the codec's own quality scale, lower is better; g: frames between keyframes, so that players seek at once.
# One thread makes the bytes repeatable. yuv420p plays in every browser.
VIDEO_FORMATS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    ".mp4": ("mp4", "libx264", "yuv420p",
             {"crf": "14", "preset": "medium", "tune": "animation", "profile": "high", "g": "48"}),
    ".webm": ("webm", "libvpx-vp9", "yuv420p",
              {"crf": "18", "b": "0", "deadline": "good", "cpu-used": "4", "g": "48"}),
    ".gif": ("gif", "gif", "pal8", {}),
}
IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}

# swscale's own numbers. Without "exact" (full chroma, accurate rounding, bit-exact) RGB comes back 1 to 1.5 levels
# darker than it should.
_SWS_BILINEAR, _SWS_AREA, _SWS_EXACT = 0x2, 0x20, 0x2000 | 0x4000 | 0x40000 | 0x80000

# x264 for AVX-512 reads what it never wrote where a side is no multiple of 16: one clip, many files (dev/LOG.md).
_SIMD: Any = np.show_config(mode="dicts")
_X264 = {"x264-params": "asm=avx2"} if {"X86_V4", "AVX512F"} & {*_SIMD["SIMD Extensions"].get("found", ())} else {}

ONE_THREAD = 320 * 240  # pixels of a frame below which threads would wait for each other more than they work
MAX_PIXELS = 4096 * 4096  # one frame of an untrusted file
MAX_DECODED_BYTES = 1 << 30  # all frames of an untrusted file that are kept, as RGB
MAX_SAMPLED_BYTES = 128 << 20  # all frames of a sample: of large pictures fewer are kept
MAX_FRAMES = 36_000  # of an untrusted file: ten minutes at 60 per second
MAX_DECODED_PIXELS = 40_000_000_000  # of all frames together: ten minutes of 1920x1080 at 30 per second


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def encode_video(
    frames: Frames, fps: float, target: Path | BinaryIO, *, container: str, codec: str, pixel_format: str,
    options: dict[str, str] | None = None,
) -> None:
    """Writes frames [T, H, W, 3] to a path or a binary file. The same frames give the same bytes.

    yuv420p pads odd sizes by one edge pixel; pal8 draws one palette of 256 colours for the whole clip. The file is
    made in memory and written at the end.
    """
    import av

    if pixel_format == "yuv420p":
        odd_h, odd_w = frames.shape[1] % 2, frames.shape[2] % 2
        frames = np.pad(frames, ((0, 0), (0, odd_h), (0, odd_w), (0, 0)), mode="edge")
    buffer = target if isinstance(target, io.BytesIO) else io.BytesIO()
    mux = {"fflags": "+bitexact"}  # Matroska else draws a random number for each file
    if container == "mp4":
        mux["movflags"] = "+faststart"  # for which the muxer opens its finished output again
    with av.open(buffer, mode="w", format=container, options=mux,
                 io_open=lambda *_: io.BytesIO(buffer.getvalue())) as out:
        video: Any = out.add_stream(codec, rate=_rate(fps))
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = pixel_format
        video.codec_context.thread_count = 1
        video.options = {**(_X264 if codec.startswith("libx264") else {}), **(options or {})}
        if pixel_format == "yuv420p":  # say the matrix, or players guess it from the size
            video.codec_context.colorspace, video.codec_context.color_range = 1, 1
            video.codec_context.color_primaries, video.codec_context.color_trc = 1, 1
        for frame in _pictures(frames, fps, pixel_format):
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    if isinstance(target, Path):
        target.write_bytes(buffer.getvalue())
    elif buffer is not target:
        target.write(buffer.getvalue())


def _pictures(frames: Frames, fps: float, pixel_format: str) -> Iterator[Any]:
    """FFmpeg's frames in the codec's pixel format."""
    import av

    sources = []
    for pts, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if pixel_format == "yuv420p":
            frame = frame.reformat(format=pixel_format, dst_colorspace="ITU709", dst_color_range="MPEG",
                                   interpolation=_SWS_AREA | _SWS_EXACT, threads=1)
        frame.pts = pts
        frame.time_base = 1 / _rate(fps)
        if pixel_format == "pal8":
            sources.append(frame)
        else:
            yield frame
    if sources:
        yield from _paletted(sources)


def _paletted(sources: list[Any]) -> Iterator[Any]:
    """FFmpeg's own two steps for GIF: one palette for all frames, then error diffusion."""
    import av

    graph: Any = av.filter.Graph()
    first = sources[0]
    entry = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=first.time_base)
    split, palette = graph.add("split"), graph.add("palettegen", "reserve_transparent=0")
    use, leave = graph.add("paletteuse", "dither=sierra2_4a"), graph.add("buffersink")
    entry.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(leave)
    graph.configure()
    for frame in sources:
        entry.push(frame)
    entry.push(None)
    for _ in sources:
        yield leave.pull()


def written_fps(fps: float, ending: str) -> float:
    """The rate that a file of this ending really plays at: GIF and WebP count in 1/100 and 1/1000 second."""
    if ending == ".gif":
        return 100 / max(2, round(100 / fps))
    return 1000 / max(1, round(1000 / fps)) if ending == ".webp" else float(_rate(fps))


def encode(clip: Clip, ending: str) -> bytes:
    """A clip as the bytes of a file with that ending: one of VIDEO_FORMATS, ".webp", or ".png" for its first frame."""
    buffer = io.BytesIO()
    if ending in (".png", ".webp"):
        from PIL import Image

        first, *rest = (Image.fromarray(frame) for frame in clip.frames[: 1 if ending == ".png" else None])
        first.save(buffer, ending[1:].upper(), quality=82, method=4, save_all=bool(rest), append_images=rest, loop=0,
                   duration=round(1000 / clip.fps))
    else:
        container, codec, pixel_format, options = VIDEO_FORMATS[ending]
        encode_video(clip.frames, clip.fps, buffer, container=container, codec=codec, pixel_format=pixel_format,
                     options=options)
    return buffer.getvalue()


def write_lossless(frames: Frames, fps: float) -> bytes:
    """Rendered truth as H.264 RGB without loss, in mp4: the same frames give the same bytes."""
    buffer = io.BytesIO()
    encode_video(frames, fps, buffer, container="mp4", codec="libx264rgb", pixel_format="rgb24",
                 options={"crf": "0", "preset": "veryfast"})
    return buffer.getvalue()


def sniff(head: bytes) -> str:
    """What a file is by its first 16 bytes: mp4, matroska, gif, png, jpeg or webp. Raises UserError for all else."""
    if head[4:8] == b"ftyp":
        return "mp4"
    for kind, begins in (("matroska", b"\x1aE\xdf\xa3"), ("gif", (b"GIF87a", b"GIF89a")),
                         ("png", b"\x89PNG\r\n\x1a\n"), ("jpeg", b"\xff\xd8\xff")):
        if head.startswith(begins):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    raise UserError("this file is no video or image that can be read", "mp4, mov, webm, mkv, gif, png, jpg or webp")


def kind_of(path: Path) -> str:
    """`sniff` for a path. Raises UserError for what is missing, no regular file, empty or not to be read."""
    try:
        if path.exists() and not path.is_file():  # a folder; or a pipe, which would wait for ever
            raise UserError(f"{path} is not a file", "give the path of a video or an image")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "give the path of an existing file") from None
    except ValueError as error:  # a zero byte in the name
        raise error if isinstance(error, UserError) else UserError("the name holds a zero byte") from None
    if not head:
        raise UserError(f"{path.name} is empty", "give the path of a video or an image")
    try:
        return sniff(head)
    except UserError as error:
        raise UserError(f"{path.name} is no video or image that can be read", error.hint) from None


def read_clip(path: Path, sample: int | None = None) -> Clip:
    """The frames of a video or image file, as RGB; an animated WebP has all its frames.

    sample: None keeps every frame; a number keeps every k-th, k a power of two, so that at least `sample` and
    less than twice as many stay, with fps divided by k, and takes what there is of a video that breaks off.
    Raises UserError for a missing, foreign, oversized or broken file: sizes are checked before anything is decoded.
    """
    kind = kind_of(path)
    with path.open("rb") as file:
        return decode(file, kind, sample)


def read_at(path: Path, fps: float, least: tuple[int, int] | None = None) -> Clip:
    """The frames of a video or image that somebody else made, shown at a rate of `fps`.

    Every frame stays until the next one's time, so variable rates come out right. Pictures are upright as their maker
    marked them; what is transparent lies on white; sound is left out. An image is one frame. least: width and height
    in pixels; pictures more than four times as large are halved, thirded and so on as they come, to no less than twice
    that, so that a long clip need not lie in memory as it was filmed. Raises UserError like `read_clip`.
    """
    kind = kind_of(path)
    with path.open("rb") as file:
        return decode_at(file, kind, fps, least)


def decode_at(file: BinaryIO, kind: str, fps: float, least: tuple[int, int] | None = None) -> Clip:
    """`read_at` for an open file of a kind that `sniff` named."""
    if kind not in ("png", "jpeg", "webp"):
        return Clip(_decode(file, kind, at=(fps, least)).frames, fps)
    clip = _decode_image(file, kind, least=least)
    count = max(1, round(len(clip.frames) * fps / clip.fps))
    _check_length(count, count * clip.frames[0].size)
    if len(clip.frames) == 1:
        return Clip(clip.frames, fps)
    return Clip(clip.frames[(np.arange(count) * clip.fps / fps).astype(int).clip(0, len(clip.frames) - 1)], fps)


def reduced(picture: Frames, least: tuple[int, int] | None) -> Frames:
    """A picture [H, W, 3] by whole parts smaller, where it is much larger than needed."""
    times = 1 if least is None else min(picture.shape[1] // (2 * least[0]), picture.shape[0] // (2 * least[1]))
    if times < 2:
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).reduce(times))


def decode(file: BinaryIO, kind: str, sample: int | None = None) -> Clip:
    """`read_clip` for an open file of a kind that `sniff` named."""
    return (_decode_image if kind in ("png", "jpeg", "webp") else _decode)(file, kind, sample)


def _decode_image(file: BinaryIO, kind: str, sample: int | None = None, least: tuple[int, int] | None = None) -> Clip:
    import warnings

    from PIL import Image, ImageSequence

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            with Image.open(file, formats=[kind.upper()]) as image:
                _check_size(image.width, image.height)
                count = getattr(image, "n_frames", 1)
                if count > MAX_FRAMES or count * image.width * image.height * 3 > MAX_DECODED_BYTES:
                    raise UserError(f"the animation has {count} frames", "cut it into parts")
                step = _step(count, sample)
                frames, starts, ends = [], [], [0]
                for i, frame in enumerate(ImageSequence.Iterator(image)):
                    frame.load()  # which says how long it is shown; equal frames in a row are written as one
                    if i % step == 0:
                        frames.append(reduced(np.asarray(_opaque(frame)), least))
                        starts.append(ends[-1])
                    ends.append(ends[-1] + max(1, frame.info.get("duration", 1000) if count > 1 else 1000))
                times = round(ends[-1] / np.diff(ends).min())
                if times > MAX_FRAMES or times * frames[0].size > MAX_SAMPLED_BYTES:
                    times = count  # at its mean rate
                step = _step(times, sample)
                at = np.searchsorted(starts, np.arange(0, times, step) * ends[-1] / times, side="right") - 1
                return Clip(np.stack(frames)[at], 1000 * times / ends[-1] / step)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError("pictures of that many pixels are too large", "at most 4096x4096") from None
    except Exception:  # Pillow's parsers raise what they meet in hostile bytes: struct.error, IndexError, ...
        raise UserError("the picture is broken", "try to open it in a viewer") from None


def _step(count: int, sample: int | None) -> int:
    return 1 if sample is None else 1 << max(0, (count // sample).bit_length() - 1)


def _opaque(image: Any) -> Any:
    """A picture upright as its maker marked it, with what is transparent on white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UserError(f"pictures of {width}x{height} pixels are too large", "at most 4096x4096")


def _check_length(frames: float, pixels: float) -> None:
    if frames > MAX_FRAMES:
        raise UserError(f"the video has more than {MAX_FRAMES} frames", "cut it into parts")
    if pixels > MAX_DECODED_PIXELS:
        raise UserError("the video is too long for its size", "cut it into parts")


At = tuple[float, tuple[int, int] | None]  # frames per second, and `read_at`'s least size


def _decode(file: BinaryIO, demuxer: str, sample: int | None = None, at: At | None = None) -> Clip:
    import av

    try:
        with av.open(file, format=demuxer, metadata_errors="ignore") as source:
            if not source.streams.video:
                raise UserError("the file holds no pictures", "give a file with a video stream")
            video = source.streams.video[0]
            if video.codec_context is None:  # a codec that FFmpeg does not know, or damaged bytes
                raise UserError("the video's codec is unknown", "convert it to H.264")
            _check_size(video.codec_context.width, video.codec_context.height)
            if video.codec_context.width * video.codec_context.height < ONE_THREAD:
                video.codec_context.thread_count = 1
            rate = float(video.average_rate or 25)
            seconds = float(video.duration * video.time_base) if video.duration and video.time_base else 0.0
            count = max(video.frames, seconds * rate)
            _check_length(count, count * video.codec_context.width * video.codec_context.height)
            frames, step = _kept(source, sample) if at is None else (_timed(source, rate, *at), 1)
    except UserError:
        raise
    except (av.error.FFmpegError, EOFError, ValueError, OverflowError, MemoryError):
        raise UserError("the video is broken", "try to open it in a player") from None
    if not frames:
        raise UserError("the video holds no frame", "try to open it in a player")
    return Clip(np.stack(frames), min(max(rate, 0.01), 1000.0) / step)


def _kept(source: Any, sample: int | None) -> tuple[list[Frames], int]:
    """The frames that stay, and of how many each is one. Needs no honest header: it thins out as it goes."""
    import av

    kept: list[Frames] = []
    step, pixels = 1, 0
    stream = enumerate(source.decode(video=0))
    while True:
        try:
            count, frame = next(stream)
        except (StopIteration, av.error.FFmpegError) as end:
            if isinstance(end, StopIteration) or (sample and kept):
                return kept, step
            raise
        pixels += frame.width * frame.height
        _check_length(count + 1, pixels)
        if count % step:
            continue
        picture = rgb(frame, kept[0].shape if kept else None)
        kept.append(picture)
        if sample and (len(kept) >= 2 * sample or (len(kept) > 1 and len(kept) * picture.size > MAX_SAMPLED_BYTES)):
            kept, step = kept[::2], step * 2
        if len(kept) * picture.size > MAX_DECODED_BYTES:
            raise UserError(f"the video decodes to more than {MAX_DECODED_BYTES >> 30} GiB", "cut it into parts")


def _timed(source: Any, rate: float, fps: float, least: tuple[int, int] | None) -> list[Frames]:
    """The frames that are seen at 0, 1 / fps, 2 / fps ...; the last stays for one frame of the usual rate."""
    shown: list[Frames] = []
    start = last = None
    count, pixels, end = 0, 0, 0.0
    for frame in source.decode(video=0):
        count, pixels = count + 1, pixels + frame.width * frame.height
        now = frame.time if frame.time is not None else count / rate
        start = now if start is None else start
        end = max(end, now - start)
        _check_length(max(count, end * fps), max(pixels, end * fps * frame.width * frame.height))
        if last is not None:
            shown += [last] * (math.ceil(end * fps - 1e-3) - len(shown))
        turned = reduced(np.rot90(rgb(frame, None), round(frame.rotation / 90)), least)
        last = turned if last is None or turned.shape == last.shape else rgb(frame, last.shape)
        if len(shown) * last.size > MAX_DECODED_BYTES:
            raise UserError(f"the video decodes to more than {MAX_DECODED_BYTES >> 30} GiB", "cut it into parts")
    if last is not None:
        shown += [last] * max(1 if not shown else 0, math.ceil((end + 1 / rate) * fps - 1e-3) - len(shown))
    return shown


def rgb(frame: Any, shape: tuple[int, ...] | None) -> Frames:
    """One frame [H, W, 3]; all take the size of the first, for a stream may change it on the way."""
    _check_size(frame.width, frame.height)
    if shape and (frame.height, frame.width) != shape[:2]:
        frame = frame.reformat(width=shape[1], height=shape[0])
    if frame.format.name.startswith("yuv"):
        frame = frame.reformat(format="rgb24", src_colorspace=frame.colorspace,
                               interpolation=_SWS_BILINEAR | _SWS_EXACT, threads=1)
    elif frame.format.name != "rgb24":
        frame = frame.reformat(format="rgb24", threads=1)
    return np.asarray(frame.to_ndarray(format="rgb24"))
