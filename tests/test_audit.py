"""The ledger held against the shards, and sources taken out with the models that they touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from scenes import texture

from tenku import media
from tenku.cli import main
from tenku.data import ledger
from tenku.data.ledger import Touched
from tenku.data.shards import ShardWriter, iter_parts, keys, shard_paths
from tenku.errors import UserError
from tenku.ingest import audit as auditing
from tenku.ingest.audit import audit, remove
from tenku.training.origin import Origin
from tenku.types import Clip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, each of its own source."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(3):
        (folder / f"{i}.png").write_bytes(media.encode(Clip(texture(1, 128, 96, seed=i), 1.0), ".png"))
    assert main(["data", "ingest", str(folder), "--out", str(folder / "out"), "--license", "CC-BY-4.0", "--size",
                 "64x48", "--workers", "1"]) == 0
    return folder


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "out", tmp_path / "shards"))


def weights(path: Path, folder: Path, start: Path | None = None) -> Path:
    """Weights that say they learnt from a folder, written as training writes them."""
    import torch

    from tenku.model.checkpoint import write_tensors

    Origin((folder,), start).publish(path, lambda to, facts: write_tensors(to, {"x": torch.zeros(1)}, facts), {})
    return path


def test_nothing_is_wrong_and_then_something(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "check", str(shards)]) == 2  # whose check is another
    capsys.readouterr()
    assert main(["data", "ledger", str(shards), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["problems"] == []
    assert [one["file"] for one in said["sources"]] == ["0.png", "1.png", "2.png"]
    book = ledger.read(shards)
    other = [ledger.Source(**{**vars(one), "license": "LicenseRef-x"}) for one in book.sources[:1]]
    ledger.write(shards, ledger.Ledger(**{**vars(book), "sources": [*other, *book.sources[1:]]}))
    assert main(["data", "ledger", str(shards)]) == 1
    said = capsys.readouterr().out
    assert "wrong: 0.png: the licence 'LicenseRef-x' is none of an open licence" in said
    assert "wrong: the ledger's licence is 'CC-BY-4.0', which is not that of its sources" in said


def test_what_was_changed_lost_or_smuggled_in_is_found(shards: Path) -> None:
    [path] = shard_paths(shards)
    (a, one), (b, two), (c, _) = iter_parts(path)
    with ShardWriter(path) as shard:
        shard.put(a, two["mp4"], {})
        shard.put(b, two["mp4"], {})
        shard.put("f" * 16, one["mp4"], {})
    assert audit(shards).problems == (
        f"000000.tar: clip {a} of 0.png is not what it was",
        f"000000.tar: clip {'f' * 16} is of no source of the ledger",
        f"clip {c} of 2.png is in no shard")


def test_worlds_are_audited_too(tmp_path: Path) -> None:
    assert main(["world", "make", "--out", str(tmp_path), "--clips", "2", "--workers", "1", "--mix", "32x32x1"]) == 0
    assert main(["data", "ledger", str(tmp_path)]) == 0
    (tmp_path / "000000.tar").unlink()
    assert audit(tmp_path).problems == ("the ledger says 2 clips, there are 0",)


def test_a_source_goes_with_its_clips_and_names_the_models_that_it_touched(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ledger.read(shards)
    first = weights(tmp_path / "first.safetensors", shards)
    (shards / "latents-x").mkdir()
    (shards / "latents-x" / "000000.safetensors").touch()
    assert main(["data", "ledger", str(shards), "--remove", "1.png", "--why", "she asked", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["models"] == [str(first)]
    after = ledger.read(shards)
    assert [one.file for one in after.sources] == ["0.png", "2.png"]
    assert (after.clips, after.removed[0].source, after.removed[0].why) == (2, before.sources[1], "she asked")
    gone = set(before.sources[1].clips)
    assert gone
    assert not gone & {key for path in shard_paths(shards) for key in keys(path)}
    assert not list(shards.glob("latents-*/*"))
    assert audit(shards).problems == ()
    second = weights(tmp_path / "second.safetensors", shards)
    grandchild = weights(tmp_path / "elsewhere" / "third.safetensors", shards, start=first)
    assert remove(shards, "0.png", "").models == sorted(map(str, (first, second, grandchild)))
    assert remove(shards, "1.png", "").models == sorted(map(str, (first, grandchild)))  # which began with the first


def test_models_elsewhere_are_found_by_their_header(shards: Path, whole: Path, tmp_path: Path) -> None:
    first = weights(tmp_path / "first.safetensors", shards)
    other = Path(shutil.copytree(whole / "out", tmp_path / "other"))
    later = weights(tmp_path / "models" / "later.safetensors", other, start=first)  # noted in the other folder only
    moved = first.rename(tmp_path / "models" / "moved.safetensors")
    assert str(later) not in remove(shards, "0.png", "").models
    assert {str(later), str(moved)} <= set(remove(shards, "0.png", "", [tmp_path / "models"]).models)


def test_a_removal_that_was_killed_is_finished_by_the_same_command(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auditing, "_without", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(shards, "1.png", "she asked")
    assert any("of no source" in wrong for wrong in audit(shards).problems)
    assert remove(shards, "1.png", "").why == "she asked"
    assert audit(shards).problems == ()


def test_what_was_removed_does_not_come_back(shards: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(shards, "1.png", "she asked")
    command = ["data", "ingest", str(whole), "--out", str(shards), "--license", "CC-BY-4.0", "--size", "64x48",
               "--workers", "1"]
    assert main(command) == 0
    assert "refused 1.png: it was removed on" in capsys.readouterr().err
    assert audit(shards).problems == ()
    assert ledger.read(shards).clips == 2


def test_the_last_clip_takes_its_shard_with_it(shards: Path) -> None:
    for name in ("0.png", "1.png", "2.png"):
        remove(shards, name, "")
    assert not shard_paths(shards)
    assert audit(shards).problems == ()


@pytest.mark.parametrize("name", ["9.png", "", "abc"])
def test_a_source_that_is_none_is_said(shards: Path, name: str) -> None:
    with pytest.raises(UserError, match="sources are called"):
        remove(shards, name, "")


def test_weights_that_were_changed_are_said(shards: Path, tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", shards)
    assert audit(shards).problems == ()
    assert audit(shards).models == (Touched(str(path), ledger.hashlib.sha256(path.read_bytes()).hexdigest(),
                                            (ledger.keep(shards),)),)
    path.write_bytes(b"other")
    assert audit(shards).problems == (f"{path}: its weights are not those that were noted",)
