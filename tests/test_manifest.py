"""The signed manifest and the identity behind it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from scenes import scene

from tenku import credentials, media, untrusted
from tenku.errors import UserError
from tenku.provenance import identity, manifest
from tenku.provenance.manifest import Signature
from tenku.types import Clip

RECORD = {"model": "tenku-tiny", "request": {"prompt": "ein roter Ball 球", "seed": 7, "scale": 2.5}}
ENDINGS = [".mp4", ".webm", ".webp", ".gif", ".png"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TENKU_HOME", str(tmp_path / "home"))
    for name in ("TENKU_SIGNING_CERT", "TENKU_SIGNING_KEY", "TENKU_TRUST_ANCHORS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def signed(path: Path, record: dict | None = None) -> Path:
    """A small signed file with the path's ending, unmarked."""
    data = media.encode(Clip(scene(1 if path.suffix == ".png" else 3, 48, 32), 12.0), path.suffix)
    about = manifest.describe("0123456789abcdef", record or RECORD, "25a0123456789abc")
    kind = media.sniff(data[:16])
    data, beside = manifest.sign(data, kind, about)
    path.write_bytes(data)
    if manifest.beside(kind):
        manifest.sidecar(path).write_bytes(beside)
    return path


def read(path: Path) -> manifest.Manifest:
    """`manifest.read` without its process: what is read is the same, and most tests here are about that."""
    beside = manifest.sidecar(path)
    with path.open("rb") as file, beside.open("rb") if beside.exists() else io.BytesIO() as other:
        said = credentials.report(file, media.kind_of(path), identity.anchors(), other if beside.exists() else None)
    return manifest.of_report(said)


def flipped(path: Path, at: int) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    return path


# -- the manifest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_signed_here_is_trusted_here(ending, tmp_path):
    found = manifest.read(signed(tmp_path / f"a{ending}"))
    assert found.signature is Signature.TRUSTED
    assert found.ours
    assert found.problems == ()
    assert found.clip_id == "0123456789abcdef"
    assert found.soft_binding == "25a0123456789abc"
    assert found.request == {"clip": "0123456789abcdef", **RECORD}
    assert found.signer.startswith("Tenku installation ")
    assert manifest.sidecar(tmp_path / f"a{ending}").exists() == (ending == ".webm")


@pytest.mark.parametrize("ending", ENDINGS)
def test_elsewhere_the_signer_is_unknown(ending, tmp_path, monkeypatch):
    path = signed(tmp_path / f"a{ending}")
    for other in ("nobody", "another"):  # a machine that never signed, and one with an identity of its own
        monkeypatch.setenv("TENKU_HOME", str(tmp_path / other))
        if other == "another":
            identity.load()
        found = read(path)
        assert found.signature is Signature.UNKNOWN
        assert found.problems == ()
        assert not (tmp_path / "nobody").exists()  # reading makes no key


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_change_breaks_the_signature(ending, tmp_path):
    path = signed(tmp_path / f"a{ending}")
    data = path.read_bytes()
    at = [len(data) - 20, len(data) * 3 // 4]
    if (label := data.find(b"org.tenku.request")) > 0:
        at += [label, label + 60]
    for place in at:
        path.write_bytes(data)
        assert read(flipped(path, place)).signature is Signature.TAMPERED, place
    path.write_bytes(data + b"x")
    assert read(path).signature is Signature.TAMPERED


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_a_manifest_nothing_is_claimed(ending, tmp_path):
    path = tmp_path / f"a{ending}"
    path.write_bytes(media.encode(Clip(scene(1, 48, 32), 12.0), ending))
    assert read(path) == manifest.Manifest(Signature.MISSING)


def test_a_webm_without_its_sidecar_or_with_anothers(tmp_path):
    one, two = signed(tmp_path / "a.webm"), signed(tmp_path / "b.webm")
    two.write_bytes(two.read_bytes() + b"\0")
    manifest.sidecar(two).write_bytes(manifest.sidecar(one).read_bytes())
    assert manifest.read(two).signature is Signature.TAMPERED
    manifest.sidecar(two).write_bytes(b"no manifest at all")
    assert manifest.read(two).signature is Signature.TAMPERED
    manifest.sidecar(two).unlink()
    assert manifest.read(two).signature is Signature.MISSING


def test_a_sidecar_counts_only_where_nothing_is_inside(tmp_path):
    path = signed(tmp_path / "a.mp4")
    manifest.sidecar(path).write_bytes(b"laid beside it by somebody")
    assert manifest.read(path).signature is Signature.TRUSTED


def test_a_process_that_dies_of_a_manifest_is_an_error_message(tmp_path, monkeypatch):
    path = signed(tmp_path / "a.png")
    monkeypatch.setattr(untrusted.sys, "executable", shutil.which("false"))
    with pytest.raises(UserError, match="within this program's limits"):
        manifest.read(path)
    assert manifest.Ingredient.of(path, 1, "start image", "inputTo") is None


ALONE = """
import sys
from pathlib import Path
from tenku.provenance import manifest, verify
assert manifest.read(Path(sys.argv[1])).signature is manifest.Signature.TRUSTED
assert verify.examine(Path(sys.argv[1])).manifest.signature is manifest.Signature.TRUSTED
assert manifest.Ingredient.of(Path(sys.argv[1]), 1, "start image", "inputTo")
print(sorted({"c2pa", "av"} & set(sys.modules)))
"""


def test_no_manifest_is_parsed_where_the_program_runs(tmp_path):
    """A process that examines a file, or takes it as an ingredient, does not even load what parses them."""
    said = subprocess.run([sys.executable, "-c", ALONE, str(signed(tmp_path / "a.png"))], capture_output=True,
                          text=True, check=False)
    assert said.stdout == "[]\n", said.stderr


def test_the_kind_is_read_from_the_content(tmp_path):
    path = signed(tmp_path / "a.mp4").rename(tmp_path / "a.png")
    assert read(path).signature is Signature.TRUSTED


def test_it_says_generated_by_a_model_and_marked(tmp_path):
    import c2pa

    with c2pa.Reader(str(signed(tmp_path / "a.mp4"))) as reader:
        store = json.loads(reader.json())
    active = store["manifests"][store["active_manifest"]]
    actions = next(a for a in active["assertions"] if a["label"].startswith("c2pa.actions"))["data"]["actions"]
    assert [a["action"] for a in actions] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert actions[0]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert active["claim_generator_info"][0]["name"] == "tenku"


def test_no_promise_of_a_mark_that_is_not_there():
    said = json.dumps(manifest.describe("0" * 16, RECORD, ""))
    assert "watermarked" not in said
    assert "soft-binding" not in said


def test_no_path_user_or_machine_leaks(tmp_path):
    import getpass
    import socket

    path = signed(tmp_path / "a secret name.mp4")
    data = path.read_bytes()
    names = {str(Path.home()), str(tmp_path), "secret name", socket.gethostname(), os.environ["TENKU_HOME"]}
    names |= {getpass.getuser()} if len(getpass.getuser()) > 5 else set()  # "root" may be found by chance
    assert not [name for name in names if len(name) > 3 and name.encode() in data]


def test_a_strangers_manifest_cannot_steer_the_terminal():
    store = {"active_manifest": "m", "manifests": {"m": {
        "claim_generator_info": [{"name": "evil\x1b[2J", "version": 7}], "signature_info": {"common_name": "x" * 500},
        "assertions": [{"label": 3}, None, {"label": "c2pa.soft-binding", "data": {"alg": manifest.MARK_ALGORITHM}}]}}}
    found = manifest._summary(store, "Valid", {"activeManifest": {"failure": [{"code": ["?"]}, 4]}})
    assert found.generator == "evil[2J"
    assert len(found.signer) == 80
    for hostile in (None, [], {"manifests": []}, {"manifests": {"None": {"claim_generator_info": "x"}}}):
        assert manifest._summary(hostile, None, None).signature is Signature.TAMPERED


# -- the identity ------------------------------------------------------------------------------------------------


def test_the_identity_is_made_once_and_private(home):
    first = identity.load()
    path = home / identity.FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert identity.load() == first
    assert os.listdir(home) == [identity.FILE]
    leaf, root = x509.load_pem_x509_certificates(first.chain_pem)
    leaf.verify_directly_issued_by(root)
    assert leaf.not_valid_after_utc - datetime.now(UTC) > timedelta(days=365 * 19)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert path.read_bytes().count(b"PRIVATE KEY-----") == 2  # one key, the leaf's: the root's is gone
    assert first.algorithm == "ES256"


def test_two_processes_make_one_identity(home):
    program = "from tenku.provenance import identity; print(identity.load().fingerprint)"
    racers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    prints = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert prints == {identity.load().fingerprint}
    assert os.listdir(home) == [identity.FILE]


def test_home_follows_the_environment(monkeypatch, tmp_path):
    assert identity.home() == tmp_path / "home"
    monkeypatch.delenv("TENKU_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert identity.home() == tmp_path / "xdg" / "tenku"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert identity.home() == Path.home() / ".config" / "tenku"


def test_a_broken_identity_is_a_users_error(home, tmp_path):
    home.mkdir()
    (home / identity.FILE).write_text("nonsense")
    with pytest.raises(UserError, match="identity"):
        identity.load()
    path = tmp_path / "a.png"
    path.write_bytes(media.encode(Clip(scene(1, 48, 32), 1.0), ".png"))
    with pytest.raises(UserError, match="identity"):  # and not: the file was tampered with
        manifest.read(path)


def operator(folder: Path, purpose: x509.ObjectIdentifier, days: int = 30) -> tuple[Path, Path, Path]:
    """Certificate, key and root of an operator: PEM files."""
    keys = [ec.generate_private_key(ec.SECP384R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Operator"),
                        x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("operator root", "operator")]
    made = []
    for ca, key, name in zip((True, False), keys, names, strict=True):
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(datetime.now(UTC) - timedelta(days=60))
            .not_valid_after(datetime.now(UTC) + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False)
            .add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), True))
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        made.append(builder.sign(keys[0], hashes.SHA384()).public_bytes(serialization.Encoding.PEM))
    pem = keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    folder.mkdir(exist_ok=True)
    paths = folder / "cert.pem", folder / "key.pem", folder / "root.pem"
    for path, content in zip(paths, (made[1] + made[0], pem, made[0]), strict=True):
        path.write_bytes(content)
    return paths


def test_the_operators_certificate(tmp_path, monkeypatch, home):
    cert, key, root = operator(tmp_path / "operator", ExtendedKeyUsageOID.EMAIL_PROTECTION)
    monkeypatch.setenv("TENKU_SIGNING_CERT", str(cert))
    monkeypatch.setenv("TENKU_SIGNING_KEY", str(key))
    assert identity.load().algorithm == "ES384"
    found = read(signed(tmp_path / "a.mp4"))
    assert (found.signature, found.signer) == (Signature.TRUSTED, "operator")
    assert not home.exists()
    monkeypatch.delenv("TENKU_SIGNING_CERT")
    monkeypatch.delenv("TENKU_SIGNING_KEY")
    assert read(tmp_path / "a.mp4").signature is Signature.UNKNOWN
    monkeypatch.setenv("TENKU_TRUST_ANCHORS", str(root))
    assert read(tmp_path / "a.mp4").signature is Signature.TRUSTED


def test_certificates_that_cannot_sign_are_users_errors(tmp_path, monkeypatch):
    cert, key, _ = operator(tmp_path / "good", ExtendedKeyUsageOID.EMAIL_PROTECTION)
    wrong_use = operator(tmp_path / "wrong", ExtendedKeyUsageOID.CODE_SIGNING)
    expired = operator(tmp_path / "expired", ExtendedKeyUsageOID.EMAIL_PROTECTION, days=-1)
    cases = [(cert, None, "only one"), (cert, tmp_path / "none", "cannot read TENKU_SIGNING_KEY"),
             (cert, wrong_use[1], "do not belong together"), (key, key, "no certificate"),
             (*wrong_use[:2], "refuses the signing certificate"), (*expired[:2], "expired")]
    for certificate, private, said in cases:
        monkeypatch.setenv("TENKU_SIGNING_CERT", str(certificate))
        monkeypatch.setenv("TENKU_SIGNING_KEY", str(private or ""))
        with pytest.raises(UserError, match=said) as caught:
            signed(tmp_path / "a.png")
        assert caught.value.hint


# -- ingredients, time stamps, tampering -------------------------------------------------------------------------------


@pytest.mark.parametrize("relationship", manifest.RELATIONSHIPS)
@pytest.mark.parametrize("ending", [".mp4", ".webm", ".png"])
def test_what_it_was_made_from_travels_with_its_own_manifest(relationship, ending, tmp_path):
    (tmp_path / "bare.png").write_bytes(media.encode(Clip(scene(1, 48, 32), 12.0), ".png"))
    used = [manifest.Ingredient.of(signed(tmp_path / "source.png"), 1, "start image", relationship),
            manifest.Ingredient.of(tmp_path / "bare.png", 2, "mask", "inputTo")]
    data = media.encode(Clip(scene(1 if ending == ".png" else 3, 48, 32), 12.0), ending)
    kind = media.sniff(data[:16])
    data, store = manifest.sign(data, kind, manifest.describe("0" * 16, RECORD, "", b"", used), used)
    path = tmp_path / f"made{ending}"
    path.write_bytes(data)
    if manifest.beside(kind):
        manifest.sidecar(path).write_bytes(store)
    found = read(path)
    assert found.signature is Signature.TRUSTED
    assert not found.problems
    assert found.ingredients == (f"start image ({relationship}), its manifest intact",
                                 "mask (inputTo), without a manifest")


def test_an_ingredient_that_was_changed_is_said_to_be(tmp_path):
    source = flipped(signed(tmp_path / "source.png"), -30)
    used = [manifest.Ingredient.of(source, 1, "start image", "inputTo")]
    data = media.encode(Clip(scene(3, 48, 32), 12.0), ".mp4")
    data, _ = manifest.sign(data, "mp4", manifest.describe("0" * 16, RECORD, "", b"", used), used)
    (tmp_path / "a.mp4").write_bytes(data)
    found = read(tmp_path / "a.mp4")
    assert found.ingredients == ("start image (inputTo), its manifest broken",)


def test_the_fingerprint_travels_in_the_manifest(tmp_path):
    data = media.encode(Clip(scene(3, 48, 32), 12.0), ".mp4")
    look = bytes(range(256)) * 8
    data, _ = manifest.sign(data, "mp4", manifest.describe("0" * 16, RECORD, "2" + "0" * 15, look))
    (tmp_path / "a.mp4").write_bytes(data)
    found = read(tmp_path / "a.mp4")
    assert (found.look, found.soft_binding) == (look, "2" + "0" * 15)


def test_a_time_stamp_is_asked_of_the_authority_that_was_set(tmp_path, monkeypatch):
    import http.server
    import threading

    asked = []

    class Authority(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["Content-Type"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Authority) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("TENKU_TIMESTAMP_URL", f"http://127.0.0.1:{server.server_port}/")
        try:
            with pytest.raises(UserError, match="TENKU_TIMESTAMP_URL") as caught:
                signed(tmp_path / "a.png")
        finally:
            server.shutdown()
            thread.join()
    assert caught.value.hint
    assert asked
    assert set(asked) == {"application/timestamp-query"}
    monkeypatch.setenv("TENKU_TIMESTAMP_URL", "ftp://there")
    with pytest.raises(UserError, match="cannot be"):
        signed(tmp_path / "a.png")


class StampAuthority:
    """A real RFC 3161 authority on a loopback port: `openssl ts` behind a few lines of HTTP."""

    def __init__(self, folder: Path) -> None:
        import http.server
        import threading

        self.folder, self.asked = folder, 0
        (folder / "tsa.cnf").write_text(f"""
[ts]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/root.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
""")
        (folder / "serial").write_text("01\n")
        key = "-newkey rsa:2048 -nodes"
        self.openssl(f"req -x509 {key} -keyout root.key -out root.pem -days 30 -subj /O=Stamps/CN=root "
                     "-config tsa.cnf -extensions ca")
        self.openssl(f"req -x509 {key} -keyout tsa.key -out tsa.pem -days 30 -subj /O=Stamps/CN=clock "
                     "-CA root.pem -CAkey root.key -config tsa.cnf -extensions tsa")

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                (folder / "query").write_bytes(handler.rfile.read(int(handler.headers["Content-Length"])))
                self.openssl("ts -reply -config tsa.cnf -section ts -queryfile query -out reply")
                self.asked += 1
                reply = (folder / "reply").read_bytes()
                handler.send_response(200)
                handler.send_header("Content-Type", "application/timestamp-reply")
                handler.send_header("Content-Length", str(len(reply)))
                handler.end_headers()
                handler.wfile.write(reply)

            def log_message(handler, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)

    def __enter__(self) -> StampAuthority:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_an_operators_signature_with_a_real_time_stamp(ending, tmp_path, monkeypatch):
    """Its own certificate, an authority of its choice, both roots trusted: the stamp is in the file and is checked."""
    cert, key, root = operator(tmp_path, ExtendedKeyUsageOID.EMAIL_PROTECTION)
    monkeypatch.setenv("TENKU_SIGNING_CERT", str(cert))
    monkeypatch.setenv("TENKU_SIGNING_KEY", str(key))
    (tmp_path / "tsa").mkdir()
    with StampAuthority(tmp_path / "tsa") as authority:
        monkeypatch.setenv("TENKU_TIMESTAMP_URL", f"http://127.0.0.1:{authority.server.server_port}/")
        path = signed(tmp_path / f"a{ending}")
        assert authority.asked == 1
        anchors = tmp_path / "anchors.pem"
        anchors.write_bytes(root.read_bytes() + (authority.folder / "root.pem").read_bytes())
    monkeypatch.setenv("TENKU_TRUST_ANCHORS", str(anchors))
    found = read(path)
    assert found.signature is Signature.TRUSTED
    assert found.problems == ()
    stamped = datetime.fromisoformat(found.time_stamp)
    assert abs((datetime.now(UTC) - stamped).total_seconds()) < 600
    monkeypatch.setenv("TENKU_TRUST_ANCHORS", str(root))  # the signer is known, the clock is not
    assert read(path).signature is not Signature.TAMPERED


def boxes(data: bytes) -> list[bytes]:
    """The top boxes of an mp4."""
    out, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        out.append(data[at:at + size])
        at += size
    return out


def test_a_thousand_changes_are_all_noticed(tmp_path):
    """Bit flips, truncations and moved boxes of a signed mp4: the signature breaks, or what was signed is unchanged."""
    from tenku import rng

    path = signed(tmp_path / "a.mp4")
    whole = path.read_bytes()
    before = read(path)
    draw = rng.stream(1, "test tampering")
    unnoticed = 0
    for number in range(1000):
        data = bytearray(whole)
        if number % 5 == 3:
            del data[int(draw.integers(0, len(whole))):]
        elif number % 5 == 4:
            parts = boxes(whole)
            a, b = draw.choice(len(parts), 2, replace=False)
            parts[a], parts[b] = parts[b], parts[a]
            data = bytearray(b"".join(parts[:-1] if draw.random() < 0.3 else parts))
        else:
            data[int(draw.integers(0, len(whole)))] ^= 1 << int(draw.integers(0, 8))
        path.write_bytes(bytes(data))
        try:
            found = read(path)
        except UserError:
            continue  # no media file any more
        if found.signature is Signature.TRUSTED:
            unnoticed += 1
            assert found == before  # in C2PA's own padding, which is declared as excluded
            assert np.array_equal(media.read_clip(path).frames, media.decode(io.BytesIO(whole), "mp4").frames)
    assert unnoticed < 200
