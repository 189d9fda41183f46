"""Worlds, footage and latents by a Ray cluster of two nodes on loopback: the same bytes as by the local pool."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from scenes import scene

from tenku import media
from tenku.cli import main
from tenku.data.cluster import spread_over
from tenku.errors import UserError
from tenku.types import Clip

MEMORY = 80 << 20  # bytes of a node's object store, the least that Ray takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(Path(__file__).parent)}
    node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    del node["include_dashboard"]
    nodes.add_node(**node)
    nodes.wait_for_nodes()
    yield nodes.address
    nodes.shutdown()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "local"
    assert main(made(folder)) == 0
    return folder


def made(folder: Path) -> list[str]:
    return ["world", "make", "--out", str(folder), "--clips", "34", "--seed", "3", "--mix", "32x32x9", "--workers", "1"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_one(when: Path, killed: list[int]) -> None:
    """kill -9 of a process of the cluster while it writes a shard."""
    while not killed:
        for path in when.glob("*.tar.*.tmp"):
            pid = int(path.name.split(".")[-2])
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.01)


def test_a_killed_process_of_the_cluster_loses_nothing(worlds, cluster, tmp_path):
    folder, killed = tmp_path / "cluster", []
    killer = threading.Thread(target=kill_one, args=(folder, killed), daemon=True)
    killer.start()
    assert main([*made(folder), "--cluster", cluster]) == 0
    assert killed
    assert {k: v for k, v in contents(folder).items() if not k.endswith(".tmp")} == contents(worlds)


def test_latents_are_the_same(worlds, cluster, tiny_model, tmp_path):
    found = []
    for name, more in (("local", []), ("cluster", ["--cluster", cluster])):
        folder = tmp_path / name
        folder.mkdir()
        for path in worlds.glob("*.tar"):
            os.link(path, folder / path.name)
        assert main(["data", "encode", str(folder), "--codec", str(tiny_model / "codec.safetensors"), "--field",
                     str(tiny_model / "lightfield.safetensors"), *more]) == 0
        found.append(contents(folder))
    assert found[0] == found[1]
    assert sum(name.endswith(".safetensors") for name in found[0]) == 2


def test_footage_is_the_same(cluster, tmp_path):
    footage = tmp_path / "footage"
    footage.mkdir()
    for seed in range(3):
        clip = Clip(scene(20, 96, 64, seed=seed), 12.0)
        (footage / f"{seed}.mp4").write_bytes(media.encode(clip, ".mp4"))
    found = []
    for name, more in (("local", []), ("cluster", ["--cluster", cluster])):
        assert main(["data", "ingest", str(footage), "--license", "CC0-1.0", "--fetched", "2026-11-28", "--size",
                     "64x48", "--fps", "12", "--frames", "17", "--out", str(tmp_path / name), *more]) == 0
        found.append({k: v for k, v in contents(tmp_path / name).items() if not k.endswith(".html")})
    assert found[0] == found[1]
    assert "000000.tar" in found[0]


def where(item: int) -> str:
    time.sleep(0.5)
    return ray.get_runtime_context().get_node_id()


def test_both_nodes_work(cluster):
    assert len(set(spread_over(where, range(4), cluster))) == 2


def wrong(item: int) -> None:
    if item:
        raise UserError("it cannot be", "try another")
    Path("/nowhere/at/all").read_bytes()


@pytest.mark.parametrize(("items", "message", "hint"), [
    ([1], "it cannot be", "another"), ([0], "a machine of the cluster says: .*/nowhere/at/all", "the same paths")])
def test_what_goes_wrong_there_is_said_here(cluster, items, message, hint):
    with pytest.raises(UserError, match=message) as error:
        list(spread_over(wrong, items, cluster))
    assert hint in error.value.hint


def test_a_cluster_that_is_not_there_is_said(capsys, tmp_path):
    assert main([*made(tmp_path / "x"), "--cluster", "no such place"]) == 2
    assert "no Ray cluster answers at 'no such place'" in capsys.readouterr().err


def test_other_versions_are_refused(cluster, monkeypatch):
    monkeypatch.setattr("tenku.data.cluster.versions", lambda: {"tenku": "0"})
    with pytest.raises(UserError, match="a machine of the cluster has"):
        list(spread_over(where, [1], cluster))
