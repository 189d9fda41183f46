"""The error-correcting code of the invisible mark: 64 bits of payload and a CRC become 352 coded bits.

A tail-biting convolutional code of rate 1/4 and constraint length 9 (generators 463, 535, 733, 745 octal, free
distance 24; Larsen 1973, the table in Proakis, "Digital Communications", section 8.2). Its decoder takes soft
values, so weak chips count little instead of wrong. The CRC is OpenPGP's of 24 bits (RFC 9580, section 6.1.1): with the
four bits of the version, 28 must fit, so that a payload read from pictures without the mark is one in 2^28.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAYLOAD_BITS = 64  # version 4, model 8, clip 52
CRC_BITS = 24
BITS = PAYLOAD_BITS + CRC_BITS
CODED = 4 * BITS
CLIP_DIGITS = 13  # of a clip's id in hex: 52 bits
VERSION = 2
CHANCE = 2.0 ** -(CRC_BITS + 4)  # that a random word is a payload
_CRC = 0x864CFB
_GENERATORS = (0o463, 0o535, 0o733, 0o745)
_MEMORY = 8
_LEAD = 48  # steps decoded before and after the word, so that its unknown first state does not matter


@dataclass(frozen=True)
class Payload:
    """What the invisible mark says."""

    model: int  # 0..255, the first byte of the weights' SHA-256
    clip: int  # 0..2**52-1, the first thirteen hex digits of the clip's id
    version: int = VERSION  # 0..15, of the mark itself

    @classmethod
    def of(cls, clip_id: str, weights_sha256: str) -> Payload:
        """From a clip id and a weights hash, both in hex. A hash that is no hex counts as 0."""
        try:
            model = int(weights_sha256[:2], 16)
        except ValueError:
            model = 0
        return cls(model, int(clip_id[:CLIP_DIGITS], 16))

    @classmethod
    def parse(cls, text: str) -> Payload:
        """The inverse of `str`. Raises ValueError for what is no payload."""
        word = int(text, 16)
        return cls((word >> 52) & 0xFF, word & ((1 << 52) - 1), word >> 60)

    def __str__(self) -> str:
        return f"{self.version:x}{self.model:02x}{self.clip_digits}"

    @property
    def clip_digits(self) -> str:
        """The clip's id as far as the mark carries it: 13 hex digits."""
        return f"{self.clip:0{CLIP_DIGITS}x}"


def pack(payload: Payload) -> npt.NDArray[np.uint8]:
    """The payload and its CRC as 88 bits, most significant first."""
    word = (payload.version << 60) | (payload.model << 52) | payload.clip
    word = (word << CRC_BITS) | _remainder(word)
    return np.array([(word >> (BITS - 1 - i)) & 1 for i in range(BITS)], np.uint8)


def unpack(bits: npt.NDArray[np.uint8]) -> Payload | None:
    """The payload in 88 bits, or None when the CRC or the version does not fit: one random word in 2^28 fits."""
    word = int("".join(map(str, bits.tolist())), 2)
    body = word >> CRC_BITS
    if _remainder(body) != word & ((1 << CRC_BITS) - 1) or body >> 60 != VERSION:
        return None
    return Payload((body >> 52) & 0xFF, body & ((1 << 52) - 1), body >> 60)


def _remainder(word: int) -> int:
    rest = (word ^ 0xFFFFFF) << CRC_BITS  # the flip keeps the all-zero word from being a valid one
    for bit in range(BITS - 1, CRC_BITS - 1, -1):
        if rest >> bit & 1:
            rest ^= ((1 << CRC_BITS) | _CRC) << (bit - CRC_BITS)
    return rest


def _signs() -> npt.NDArray[np.float32]:
    """[512, 4]: the coded signs for each register content (the newest bit lowest)."""
    content = np.arange(1 << (_MEMORY + 1))
    taps = [[bin(int(c) & g).count("1") & 1 for g in _GENERATORS] for c in content]
    return 1 - 2 * np.array(taps, np.float32)


def encode(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """88 bits to 352 signs (+1 for 0, -1 for 1). The register starts with the last 8 bits: the code bites its tail."""
    register = int("".join(map(str, bits[-_MEMORY:].tolist())), 2)
    signs, out = _signs(), []
    for bit in bits.tolist():
        register = (register << 1 | bit) & 0x1FF
        out.append(signs[register])
    return np.concatenate(out)


def decode(soft: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """[..., 352] soft values (positive leans to 0) to the likeliest 88 bits of each word: Viterbi around the circle."""
    steps = soft.reshape(-1, BITS, 4)
    words = np.arange(len(steps))
    order = np.arange(-_LEAD, BITS + _LEAD) % BITS
    states = 1 << _MEMORY
    into = np.arange(states)  # register: state before << 1 | new bit; state after: its low 8 bits
    before = np.stack([into >> 1, into >> 1 | states >> 1])  # the two states that lead into each
    register = np.stack([into, into | states])
    gains = np.einsum("bsg,wtg->twbs", _signs()[register], steps)
    metric = np.zeros((len(steps), states), np.float64)
    choice = np.empty((len(order), len(steps), states), np.uint8)
    for t, step in enumerate(order.tolist()):
        arrive = metric[:, before] + gains[step]
        choice[t] = arrive[:, 1] > arrive[:, 0]
        metric = arrive.max(1)
    state = metric.argmax(1)
    bits = np.empty((len(steps), len(order)), np.uint8)
    for t in range(len(order) - 1, -1, -1):
        bits[:, t] = state & 1
        state = before[choice[t, words, state], state]
    return bits[:, _LEAD:_LEAD + BITS].reshape(*soft.shape[:-1], BITS)
