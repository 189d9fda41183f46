"""The container, compose and Kubernetes files name only what there is. No container is built here."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
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


FLEET: list[dict[str, Any]] = [*yaml.safe_load_all((REPO / "deploy/kubernetes.yaml").read_text(encoding="utf-8"))]
PODS = {one["metadata"]["name"]: one["spec"]["template"] for one in FLEET if one["kind"] == "Deployment"}


@pytest.mark.parametrize("resource", FLEET, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_kubernetes_knows_every_field(resource):
    kubernetes_validate.validate(resource, "1.33", strict=True)


def test_the_fleet_fits_together():
    assert set(PODS) == {"server", "worker"}
    claims = {one["metadata"]["name"] for one in FLEET if one["kind"] == "PersistentVolumeClaim"}
    [service] = [one["spec"] for one in FLEET if one["kind"] == "Service"]
    assert service["selector"] == PODS["server"]["metadata"]["labels"]
    for one in FLEET:
        if one["kind"] == "Deployment":
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
    kept = {path for rest in said("ENV") for path in re.findall(r"TENKU_HOME=(\S+)", rest)}
    for name, pod in PODS.items():
        [container] = pod["spec"]["containers"]
        given = vars(cli.parser_of(name.replace("server", "serve")).parse_args(container["args"][1:]))
        assert container["args"][0] == name.replace("server", "serve")
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == kept
        assert {volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"]} <= claims
        assert pod["spec"]["securityContext"]["runAsUser"] == int(re.search(r"--uid (\d+)", " ".join(said("RUN")))[1])
        if name == "server":
            [port] = container["ports"]
            assert port["containerPort"] == int(given["port"]) == int(said("EXPOSE")[0])
            for probe in ("readinessProbe", "livenessProbe"):  # the server answers to its name alone
                asked = container[probe]["httpGet"]
                assert (asked["path"], asked["port"]) == ("/health", port["name"])
                assert asked["httpHeaders"][0]["value"] in given["name"]


def test_the_fleet_is_told_what_is_read():
    text = (REPO / "deploy/kubernetes.yaml").read_text(encoding="utf-8")
    told = set(re.findall(r"from-literal=(\w+)=", text))
    assert {name for name in told if name.startswith("TENKU_")} == {"TENKU_DB", "TENKU_FILES"}
    assert all(f'"{name}"' in CODE for name in told if name.startswith("TENKU_"))
