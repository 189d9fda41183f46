"""An mp4 that can be watched while it is being made: pieces that are put behind each other."""

from __future__ import annotations

import io

REORDERED = 2  # frames that x264 gives before their time


def fragment(data: bytes, first: int) -> bytes:
    """An mp4 as a piece of a longer one that is still being made: fragmented, its pictures from frame `first` on.

    The piece that begins at 0 has the header; the others are only to be put behind it. Nothing is encoded again.
    """
    import av

    buffer = io.BytesIO()
    options = {"movflags": "+frag_keyframe+empty_moov+default_base_moof+frag_discont",
               "fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    with (av.open(io.BytesIO(data), format="mp4") as source,
          av.open(buffer, mode="w", format="mp4", options=options) as out):
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video)
        one = round(1 / (float(video.average_rate) * float(video.time_base)))  # ticks of a frame
        packets = (packet for packet in source.demux(video) if packet.pts is not None)
        for number, packet in enumerate(packets, first):  # counted anew: a piece of one frame has none to reorder
            packet.pts += (first + REORDERED) * one
            packet.dts = number * one
            packet.stream = stream
            out.mux(packet)
    written = buffer.getvalue()
    start = 0 if first == 0 else _box(written, b"moof")
    return written[start : _box(written, b"mfra")]


def _box(data: bytes, kind: bytes) -> int:
    """Where the first top-level box of a kind begins in an mp4; its end where there is none."""
    at = 0
    while at < len(data) and data[at + 4 : at + 8] != kind:
        at += max(8, int.from_bytes(data[at : at + 4], "big"))
    return min(at, len(data))
