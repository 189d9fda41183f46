"""What is kept of generated pictures without a mark, so that only this installation can see it.

A film keeps its shots' pictures, from which it is cut again when one shot was changed, and a job what it goes on from.
They are without a mark; so they lie encrypted (AES-256-GCM) under a key drawn from the identity that signs here.
Whoever copies the folder has the sealed shots and nothing else; another installation dreams the shot again.
"""

from __future__ import annotations

import io
import secrets

from tenku.media import decode, write_lossless
from tenku.provenance import identity
from tenku.types import Clip

_NONCE = 12  # bytes
_ABOUT = b"tenku pictures without a mark"


def lock(data: bytes, name: str) -> bytes:
    """The data encrypted; it opens again only under the same name. Raises UserError without an identity."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(_key()).encrypt(nonce, data, name.encode())


def unlock(data: bytes, name: str) -> bytes | None:
    """The inverse of `lock`, or None for what was locked elsewhere, under another name, or changed since."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(_key()).decrypt(data[:_NONCE], data[_NONCE:], name.encode())
    except (InvalidTag, ValueError):
        return None


def lock_clip(clip: Clip, name: str) -> bytes:
    """A clip's pictures, without loss, encrypted like `lock`."""
    return lock(write_lossless(clip.frames, clip.fps), name)


def unlock_clip(data: bytes, name: str) -> Clip | None:
    """The inverse of `lock_clip`, or None like `unlock`. Its rate is the nearest that the container can say."""
    opened = unlock(data, name)
    return None if opened is None else decode(io.BytesIO(opened), "mp4")


def _key() -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, None, _ABOUT).derive(identity.load().key_pem)
