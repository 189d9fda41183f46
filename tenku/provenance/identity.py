"""Who signs: the installation's own certificate, made at first use, or the operator's.

The installation makes a root and, under it, one ES256 leaf; the root's private key is thrown away, so nobody can
issue a second leaf with it. The names in them are random: they tell installations apart and say nothing of
the machine or its user. The operator's own certificate goes into the environment:

    TENKU_SIGNING_CERT    PEM file: the leaf first, then every intermediate
    TENKU_SIGNING_KEY     PEM file: its private key, PKCS8, unencrypted
    TENKU_TIMESTAMP_URL   RFC 3161 time stamp authority; the only thing that makes sealing use the network
    TENKU_TRUST_ANCHORS   PEM file: further roots that `tenku verify` shall trust
    TENKU_HOME            folder of the installation's own identity (else $XDG_CONFIG_HOME/tenku, ~/.config/tenku)
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tenku.errors import UserError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# Without a time stamp from a third party a signature reads as invalid once its certificate has expired, so the
# installation's own outlives the files.
VALID_DAYS = 20 * 365
FILE = "identity.pem"  # private key, leaf, root: one file, so that it appears whole


@dataclass(frozen=True)
class Identity:
    """What signing needs."""

    algorithm: str  # C2PA's name: "ES256", "ES384", "ES512", "PS256" or "ED25519"
    chain_pem: bytes  # leaf first, root last
    key_pem: bytes  # PKCS8
    fingerprint: str  # 16 hex digits of the leaf's SHA-256
    time_authority: str = ""  # URL of the time stamp authority, "" for none


def home() -> Path:
    """The folder for this installation's own files. It need not exist."""
    if own := os.environ.get("TENKU_HOME"):
        return Path(own)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "tenku"


def load() -> Identity:
    """The identity to sign with: the operator's when the environment names one, else the installation's.

    Makes the installation's at first use. Raises UserError for certificates that cannot be read or do not
    belong to their key, OSError when the folder cannot be written.
    """
    cert, key = os.environ.get("TENKU_SIGNING_CERT"), os.environ.get("TENKU_SIGNING_KEY")
    if bool(cert) != bool(key):
        raise UserError("only one of TENKU_SIGNING_CERT and TENKU_SIGNING_KEY is set", "set both or none")
    if cert and key:
        chain, private = _read("TENKU_SIGNING_CERT", cert), _read("TENKU_SIGNING_KEY", key)
        return _identity(chain, private, "TENKU_SIGNING_CERT and TENKU_SIGNING_KEY")
    path = home() / FILE
    if not path.exists():
        _create(path)
    private, mark, rest = path.read_bytes().partition(b"-----END PRIVATE KEY-----\n")
    return _identity(rest, private + mark, f"{path} (move it away to start anew)")


def anchors() -> str:
    """The roots that `verify` trusts, as PEM: the installation's and the operator's. "" when there is none yet.

    Makes nothing: reading a file must not leave a key behind. Raises UserError for unreadable anchors.
    """
    from cryptography import x509

    found = []
    path = home() / FILE
    with contextlib.suppress(OSError):
        found.append((str(path), path.read_bytes().partition(b"-----END PRIVATE KEY-----\n")[2]))
    for variable in ("TENKU_SIGNING_CERT", "TENKU_TRUST_ANCHORS"):
        if name := os.environ.get(variable):
            found.append((variable, _read(variable, name)))
    for source, pem in found:
        try:
            x509.load_pem_x509_certificates(pem)
        except ValueError:  # C2PA would call every file tampered
            raise UserError(f"no certificate can be read from {source}", "a PEM file is needed") from None
    return b"\n".join(pem for _, pem in found).decode("ascii", "replace")


def _read(variable: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {variable}: {error.strerror}", "give the path of a PEM file") from None


def _identity(chain: bytes, private: bytes, source: str) -> Identity:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        key = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError, IndexError):
        raise UserError(f"no certificate and key can be read from {source}", "PEM, the key as PKCS8") from None
    if key.public_key() != leaf.public_key():
        raise UserError(f"the certificate and the key of {source} do not belong together", "give the key's own")
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise UserError(f"the certificate of {source} has expired", "sign with a current one")
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size in (256, 384, 521):
        algorithm = {256: "ES256", 384: "ES384", 521: "ES512"}[key.curve.key_size]
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithm = "ED25519"
    elif isinstance(key, rsa.RSAPrivateKey):
        algorithm = "PS256"
    else:
        raise UserError(f"the key of {source} is of no kind that C2PA allows", "use ECDSA P-256")
    pkcs8 = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption())
    return Identity(algorithm, chain, pkcs8, leaf.fingerprint(hashes.SHA256()).hex()[:16], _time_authority())


def _time_authority() -> str:
    url = os.environ.get("TENKU_TIMESTAMP_URL", "")
    if url and not url.startswith(("http://", "https://")):
        raise UserError(f"TENKU_TIMESTAMP_URL cannot be {url[:80]!r}", "an address that begins with https://")
    return url


def _create(path: Path) -> None:
    """Writes a new identity, whole and readable by its owner only; keeps the other's when two processes race."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = secrets.token_hex(4)
    root = _certificate(f"Tenku installation {name} root", root_key)
    leaf = _certificate(f"Tenku installation {name}", leaf_key, root, root_key)
    pem = leaf_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())
    pem += b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, root))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its identity stays
            os.link(draft, path)  # unlike a rename, never replaces
    finally:
        draft.unlink(missing_ok=True)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None = None,
    issuer_key: ec.EllipticCurvePrivateKey | None = None,
) -> x509.Certificate:
    """A root (no issuer), or a leaf with what C2PA asks of one: digitalSignature, emailProtection, SKI, AKI."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tenku"),
                         x509.NameAttribute(NameOID.COMMON_NAME, name)])
    root = issuer is None
    signer = issuer_key or key
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=VALID_DAYS))  # clocks differ
        .add_extension(x509.BasicConstraints(ca=root, path_length=0 if root else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.KeyUsage(
            digital_signature=not root, key_cert_sign=root, crl_sign=root, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False), critical=True)
    )
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(signer, hashes.SHA256())
