"""The container and compose files name only what there is. No container is built here."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.engine import make_url

from tenku import cli

REPO = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((REPO / "deploy/compose.yaml").read_text(encoding="utf-8"))
LINES = [line.split(" ", 1) for line in (REPO / "deploy/Containerfile").read_text(encoding="utf-8").splitlines()
         if line and not line.startswith("#")]
CODE = "".join(path.read_text(encoding="utf-8") for path in (REPO / "tenku").rglob("*.py"))


def said(word: str) -> list[str]:
    return [rest for first, rest in LINES if first == word]


def filled(text: str) -> str:
    """Compose's variables by their defaults; one that must be set is set."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", lambda found: found[2] or "p@ss/word", text)


def test_the_container_is_made_of_what_is_there():
    copied = [name for rest in said("COPY") for name in rest.split()[:-1]]
    assert all((REPO / name).exists() for name in copied)
    ignored = (REPO / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)  # and nothing else is sent
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(copied)
    [install] = [run for run in said("RUN") if "pip install" in run]
    [extras] = re.findall(r"\.\[([\w,]+)\]", install)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "-c constraints.txt" in install
    version = said("FROM")[0].removeprefix("python:").removesuffix("-slim")
    assert project["requires-python"] == f">={version}"
    assert json.loads(said("ENTRYPOINT")[0])[0] in project["scripts"]


def environments() -> list[str]:
    return [name for rest in said("ENV") for name in re.findall(r"(\w+)=", rest)] + [
        name for service in COMPOSE["services"].values() if "build" in service for name in service["environment"]]


@pytest.mark.parametrize("name", sorted({*environments()} - {"PGPASSWORD"}))
def test_what_is_set_is_read(name):
    assert f'"{name}"' in CODE


def test_the_commands_are_understood():
    given = [service["command"] for service in COMPOSE["services"].values() if "command" in service]
    commands = [json.loads(said("CMD")[0]), *([filled(word) for word in words] for words in given)]
    assert [command[0] for command in commands] == ["serve", "serve", "worker"]
    for command in commands:
        cli.parser_of(command[0]).parse_args(command[1:])


def test_the_parts_fit_together():
    services = COMPOSE["services"]
    mounted = {volume for service in services.values() for volume in service["volumes"]}
    assert {volume.partition(":")[0] for volume in mounted} == set(COMPOSE["volumes"])
    kept = {path for rest in said("ENV") for path in re.findall(r"=(\S+)", rest)}
    assert set(json.loads(said("VOLUME")[0])) == kept == {
        volume.partition(":")[2] for volume in services["server"]["volumes"]} == {
        volume.partition(":")[2] for volume in services["worker"]["volumes"]}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert all("healthcheck" in services[name] for name in service.get("depends_on", {}))
        if "build" in service:
            assert (REPO / "deploy" / service["build"]["context"]).resolve() == REPO
            assert (REPO / service["build"]["dockerfile"]).is_file()
    url = make_url(filled(services["server"]["environment"]["TENKU_DB"]))
    assert (url.host, url.username, url.database) == ("db", services["db"]["environment"]["POSTGRES_USER"], "tenku")
    assert said("EXPOSE") == [services["server"]["ports"][0].rpartition(":")[2]]
    compile(services["server"]["healthcheck"]["test"][3], "healthcheck", "exec")
