"""Containers: colours, sizes, repeatable bytes, and files that mean harm."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import scene

from tenku import media
from tenku.errors import UserError
from tenku.types import Clip

VIDEOS = [".mp4", ".webm", ".webp", ".gif"]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-9, float(np.square(a.astype(float) - b).mean())))


def h264(frames: np.ndarray) -> bytes:
    return media.encode(Clip(frames, 12.0), ".mp4")


def test_the_same_frames_give_the_same_bytes_at_any_size():
    frames = np.repeat(np.repeat(scene(25), 2, 1), 2, 2)
    for width, height in ((106, 66), (112, 66), (160, 90)):  # not of whole blocks of 16: there x264 differed by itself
        clip = Clip(np.ascontiguousarray(frames[:, :height, :width]), 12.0)
        assert len({media.encode(clip, ".mp4") for _ in range(20)}) == 1


@pytest.mark.parametrize(("width", "height"), [(128, 80), (127, 79), (1, 1), (17, 33)])
def test_lossless_is_exact_at_every_size(width, height):
    frames = np.random.Generator(np.random.Philox(1)).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    data = media.write_lossless(frames, 12.0)
    clip = media.decode(io.BytesIO(data), "mp4")
    assert np.array_equal(clip.frames, frames)
    assert clip.fps == 12
    assert media.write_lossless(frames, 12.0) == data


@pytest.mark.parametrize("ending", VIDEOS)
def test_a_video_survives_and_repeats(ending, tmp_path):
    clip = Clip(scene(9), 12.0)
    data = media.encode(clip, ending)
    assert media.encode(clip, ending) == data
    path = tmp_path / f"a{ending}"
    path.write_bytes(data)
    back = media.read_clip(path)
    assert back.frames.shape == clip.frames.shape
    assert back.fps == pytest.approx(media.written_fps(12.0, ending))
    assert psnr(back.frames, clip.frames) > 28  # half of it lost with the colours' halved resolution


@pytest.mark.parametrize("ending", VIDEOS)
def test_equal_frames_in_a_row_come_back_each(ending, tmp_path):
    still = np.repeat(scene(3), (5, 1, 3), axis=0)
    path = tmp_path / f"a{ending}"
    path.write_bytes(media.encode(Clip(still, 12.0), ending))
    back = media.read_clip(path)
    assert back.frames.shape == still.shape
    assert back.fps == pytest.approx(media.written_fps(12.0, ending))
    assert psnr(back.frames, still) > 28
    assert len(media.read_clip(path, sample=4).frames) in (4, 5)  # every second one


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_colours_come_back_within_one_level(ending):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (255, 255, 255), (0, 0, 0), (20, 200, 180)]
    frames = np.concatenate([np.full((3, 48, 16, 3), c, np.uint8) for c in colours], 2)
    back = media.decode(io.BytesIO(media.encode(Clip(frames, 24.0), ending)), media.sniff(_head(frames, ending)))
    for i, colour in enumerate(colours):
        middle = back.frames[:, 8:40, i * 16 + 6:i * 16 + 10].astype(int)
        assert np.abs(middle - colour).max() <= 1, colour


def _head(frames: np.ndarray, ending: str) -> bytes:
    return media.encode(Clip(frames[:1], 24.0), ending)[:16]


def test_the_mp4_plays_in_browsers():
    data = media.encode(Clip(scene(7, 127, 79), 12.0), ".mp4")
    assert data.index(b"moov") < data.index(b"mdat")  # starts before all of it has arrived
    with av.open(io.BytesIO(data), format="mp4") as file:
        video = file.streams.video[0].codec_context
        assert (video.name, video.profile, video.pix_fmt) == ("h264", "High", "yuv420p")
        assert (video.width, video.height) == (128, 80)  # 4:2:0 has even sizes
        assert (video.colorspace, video.color_range, video.color_primaries, video.color_trc) == (1, 1, 1, 1)


def test_gif_uses_colours_of_its_own():
    frames = np.zeros((3, 40, 64, 3), np.uint8)
    frames[..., 0] = np.arange(64) * 2
    back = media.decode(io.BytesIO(media.encode(Clip(frames, 10.0), ".gif")), "gif")
    assert np.abs(back.frames.astype(int) - frames).max() <= 4  # a fixed palette of 8 reds would be off by 18


@pytest.mark.parametrize("ending", VIDEOS)
def test_one_frame_is_a_video_too(ending):
    data = media.encode(Clip(scene(1), 12.0), ending)
    assert len(media.decode(io.BytesIO(data), media.sniff(data[:16])).frames) == 1


def test_png_is_exact():
    frames = scene(1, 33, 17)
    assert np.array_equal(media.decode(io.BytesIO(media.encode(Clip(frames, 1.0), ".png")), "png").frames, frames)


@given(frames=st.integers(1, 70), sample=st.integers(1, 20))
@settings(max_examples=8)
def test_a_sample_spans_the_clip_and_keeps_time(frames, sample):
    pictures = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None] * 3, (frames, 16, 16, 3))
    data = media.write_lossless(np.ascontiguousarray(pictures), 24.0)
    clip = media.decode(io.BytesIO(data), "mp4", sample)
    step = round(24.0 / clip.fps)
    assert step & (step - 1) == 0
    assert np.array_equal(clip.frames, pictures[::step])
    assert min(sample, frames) <= len(clip.frames) < 2 * sample or step == 1


# -- files that mean harm ------------------------------------------------------------------------------------

FFCONCAT = b"ffconcat version 1.0\nfile b.mp4\n"
HOSTILE = {
    "empty.mp4": b"",
    "text.mp4": b"hello, I am no video at all, just words",
    "concat.mp4": FFCONCAT,
    "brand.mp4": b"\0\0\0\x20ftypisom" + FFCONCAT * 4,
    "list.mp4": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    "session.mp4": b"v=0\nm=video 5004 RTP/AVP 96\n",
    "noise.webm": b"\x1aE\xdf\xa3" + bytes(range(256)) * 4,
    "noise.gif": b"GIF89a" + b"\xff" * 64,
    "noise.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
    "noise.jpg": b"\xff\xd8\xff" + b"\0" * 64,
    "noise.webp": b"RIFF\x20\0\0\0WEBPVP8 " + b"\0" * 64,
    "short.mp4": b"\0\0\0\x18ft",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_a_users_error(name, tmp_path):
    media_file = tmp_path / name
    media_file.write_bytes(HOSTILE[name])
    (tmp_path / "b.mp4").write_bytes(h264(scene(2)))  # what the playlist would have opened
    with pytest.raises(UserError) as caught:
        media.read_clip(media_file)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [*VIDEOS, ".png"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_a_users_error_or_what_came_before(ending, part, tmp_path):
    data = media.encode(Clip(scene(9), 12.0), ending)
    path = tmp_path / f"cut{ending}"
    path.write_bytes(data[:int(len(data) * part)])
    for sample in (None, 8):
        with contextlib.suppress(UserError):  # and nothing else
            assert media.read_clip(path, sample).frames.shape[1:] == (80, 128, 3)


@given(seed=st.integers(0, 2**32), ending=st.sampled_from([*VIDEOS, ".png"]))
@settings(max_examples=40)
def test_flipped_bytes_never_escape_as_anything_else(seed, ending):
    data = bytearray(media.encode(Clip(scene(3, 32, 32), 12.0), ending))
    draw = np.random.Generator(np.random.Philox(seed))
    for at in draw.integers(16, len(data), 12):
        data[at] = draw.integers(256)
    with contextlib.suppress(UserError):  # and nothing else
        assert media.decode(io.BytesIO(bytes(data)), media.sniff(bytes(data[:16])), 8).frames.ndim == 4


def test_a_folder_a_pipe_and_a_missing_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
    for path in (tmp_path, tmp_path / "pipe.mp4", tmp_path / "no.mp4", Path("a\0b.mp4")):
        with pytest.raises(UserError) as caught:
            media.read_clip(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(h264(scene(2)))
    path.chmod(0)
    with pytest.raises(UserError, match="Permission denied"):
        media.read_clip(path)


def test_sizes_are_refused_before_decoding(tmp_path):
    from PIL import Image

    for side in (5_000, 10_000, 14_000):  # below, at and above the limits of Pillow; 20 KB for up to 600 MB
        bomb = tmp_path / f"{side}.png"
        Image.new("1", (side, side)).save(bomb, compress_level=1)
        with pytest.raises(UserError, match="too large"):
            media.read_clip(bomb)


def test_an_unknown_codec_is_said(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(h264(scene(2)).replace(b"avc1", b"zzzz"))
    with pytest.raises(UserError, match="codec is unknown"):
        media.read_clip(path)


def test_too_many_frames_are_refused(monkeypatch):
    data = h264(scene(9, 32, 32))
    monkeypatch.setattr(media, "MAX_FRAMES", 8)
    with pytest.raises(UserError, match="more than 8 frames"):
        media.decode(io.BytesIO(data), "mp4")
    monkeypatch.setattr(media, "MAX_FRAMES", 9)
    monkeypatch.setattr(media, "MAX_DECODED_PIXELS", 32 * 32 * 8)
    with pytest.raises(UserError, match="too long for its size"):
        media.decode(io.BytesIO(data), "mp4")
    monkeypatch.setattr(media, "MAX_DECODED_PIXELS", 32 * 32 * 9)
    monkeypatch.setattr(media, "MAX_DECODED_BYTES", 32 * 32 * 3 * 8)
    with pytest.raises(UserError, match="decodes to more"):
        media.decode(io.BytesIO(data), "mp4")


def test_a_stream_that_changes_its_size_takes_the_first():
    small, large = (media.encode(Clip(scene(2, w, w), 12.0), ".mp4") for w in (32, 64))
    pictures = []
    for data in (small, large):
        with av.open(io.BytesIO(data)) as source:
            pictures += list(source.decode(video=0))
    shapes = {media.rgb(frame, (32, 32, 3)).shape for frame in pictures}
    assert shapes == {(32, 32, 3)}


def test_media_imports_no_codec_until_it_is_used():
    program = "import sys, tenku.media; print({'av', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# -- what others made ----------------------------------------------------------------------------------------


def test_a_clip_of_another_rate_is_seen_at_ours(tmp_path):
    frames = np.repeat(np.arange(10, dtype=np.uint8)[:, None, None, None] * 20, 32, 1)
    frames = np.repeat(np.repeat(frames, 48, 2), 3, 3)
    (tmp_path / "a.mp4").write_bytes(media.write_lossless(frames, 8.0))
    clip = media.read_at(tmp_path / "a.mp4", 16.0)
    assert clip.fps == 16
    assert clip.frames[:, 0, 0, 0].tolist() == [v for v in range(0, 200, 20) for _ in range(2)]
    half = media.read_at(tmp_path / "a.mp4", 4.0).frames[:, 0, 0, 0].tolist()
    assert half == [0, 40, 80, 120, 160]


def test_a_variable_rate_keeps_its_times(tmp_path):
    import av

    with av.open(str(tmp_path / "vfr.mkv"), "w", format="matroska") as out:
        stream = out.add_stream("libx264rgb", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "rgb24"
        stream.options = {"crf": "0"}
        stream.codec_context.time_base = Fraction(1, 10)
        for pts, level in ((0, 10), (1, 60), (6, 110), (7, 160)):  # the second stays for half a second
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    shown = media.read_at(tmp_path / "vfr.mkv", 10.0).frames[:, 0, 0, 0].tolist()
    assert shown[:8] == [10, 60, 60, 60, 60, 60, 110, 160]


def test_what_is_transparent_lies_on_white_and_pictures_stand_upright(tmp_path):
    from PIL import Image

    pixels = np.zeros((8, 12, 4), np.uint8)
    pixels[:, :6] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = media.read_at(tmp_path / "a.png", 16.0).frames
    assert picture.shape == (1, 8, 12, 3)
    assert picture[0, 0, 0].tolist() == [255, 0, 0]
    assert picture[0, 0, 11].tolist() == [255, 255, 255]
    turned = Image.new("RGB", (12, 8))
    exif = turned.getexif()
    exif[0x0112] = 6  # turn by a quarter
    turned.save(tmp_path / "b.jpg", exif=exif)
    assert media.read_at(tmp_path / "b.jpg", 16.0).frames.shape == (1, 12, 8, 3)
