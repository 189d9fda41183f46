"""The docs say what the code does: links lead somewhere, the reference is current, the commands run."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tenku.cli import VERBS, main

REPO = Path(__file__).resolve().parent.parent
PAGES = sorted(p for p in REPO.rglob("*.md")
               if not any(part.startswith(".") or part in ("build", "out") for part in p.relative_to(REPO).parts))
README = (REPO / "README.md").read_text(encoding="utf-8")
LONG = os.environ.get("TENKU_LONG") == "1"
EGL = ctypes.util.find_library("EGL") is not None  # what rendering worlds needs


def house_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"dev_{name}", REPO / "dev" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(text: str, language: str) -> list[tuple[set[str], str]]:
    """Fenced blocks of a language: the words after it, and what is inside."""
    found = re.findall(rf"^```{language}\b *([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(set(words.split()), body) for words, body in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    local = [t.partition("#")[0] for t in targets if not re.match(r"(https?:|mailto:|#)", t)]
    missing = [t for t in local if not (page.parent / t).exists()]
    assert not missing


def test_the_reference_is_what_the_parsers_say():
    docs = house_script("docs")
    assert docs.TARGET.read_text(encoding="utf-8") == docs.page(), "run: python dev/docs.py"


def test_the_readme_maps_every_part():
    parts = {p.name for p in (REPO / "tenku").iterdir() if p.is_dir() and p.name != "__pycache__"}
    mapped = set(re.findall(r"`tenku/(\w+)/`", README))
    assert mapped >= parts
    modules = {p.name for p in (REPO / "tenku").glob("*.py")} - {"__init__.py", "__main__.py"}
    assert all(f"{name}`" in README for name in modules)


def test_every_verb_is_shown_in_the_readme():
    shown = "".join(body for _, body in blocks(README, "sh"))
    assert all(f"tenku {verb}" in shown for verb in VERBS)


def test_every_block_says_how_it_is_tested():
    for page in PAGES:
        for words, _ in blocks(page.read_text(encoding="utf-8"), "sh"):
            assert words <= {"install", "long", "world", "skip"}


def test_the_first_two_commands_bring_their_own_set_up():
    first, second = [body for words, body in blocks(README, "sh") if words == {"install"}]
    for command in (first, second):
        assert command.startswith("git clone ")
        assert re.search(r"python3 -m venv (--upgrade-deps )?\.venv && \. \.venv/bin/activate", command)
        assert "pip install -c constraints.txt " in command
    assert 'tenku generate "a red ball bouncing on a beach at sunset"' in first
    assert "tenku verify" in first
    assert "pytest" in second


def bundled() -> bool:
    return (REPO / "tenku" / "weights" / "nano" / "transformer.safetensors").exists()


def stories() -> list[list[str]]:
    """The README's runnable blocks, in order, those together of which one reads what another wrote."""
    never = {"install", "skip"} | (set() if LONG else {"long"}) | (set() if EGL else {"world"})
    runnable = [body for words, body in blocks(README, "sh") if not words & never]
    found: list[tuple[set[str], list[int]]] = []  # the files and folders that a story names, its blocks
    for number, body in enumerate(runnable):
        named = set(re.findall(r"\b[\w-]+\.[a-z]\w+\b|(?<= --out )\w+|(?<= --data )\w+", body))
        same = [story for story in found if story[0] & named]
        numbers = sorted([number, *(n for _, earlier in same for n in earlier)])
        found = [story for story in found if story not in same]
        found.append((named.union(*(files for files, _ in same)), numbers))
    return [[runnable[n] for n in numbers] for _, numbers in found]


DREAMING = ("generate", "extend", "blend", "loop", "edit")
FEW = 4  # denoising steps


def commands(body: str) -> list[list[str]] | None:
    """The words of each command of a block; None for a block that takes a shell."""
    if re.search(r"[<>|&;$`*?]", body):
        return None
    return [shlex.split(line, comments=True) for line in body.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("bodies", stories(), ids=lambda bodies: bodies[0].split(" -")[0][:40])
def test_the_readmes_commands_run(tmp_path, bodies, monkeypatch):
    """Each story in an empty folder; long ones where TENKU_LONG=1 is set, as CI does.

    Where no shell is needed tenku is called in this process, which has loaded torch already, and dreams in few steps
    unless the README says how many: that saves two thirds of the time. CI's first command is started and dreams as it
    is written there.
    """
    if not bundled():
        pytest.skip("the bundled weights are not there yet")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for body in bodies:
        for words in commands(body) or []:
            if words[0] != "tenku":
                subprocess.run(words, check=True)
                continue
            few = ["--steps", str(FEW)] if words[1] in DREAMING and "--steps" not in words else []
            assert main([*words[1:], *few]) == 0, words
        if commands(body) is not None:
            continue
        body = body.replace("\nshots:\n", f"\nsteps: {FEW}\nshots:\n")  # of a storyboard
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", body], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"


def test_the_readmes_python_runs(tmp_path):
    if not bundled():
        pytest.skip("the bundled weights are not there yet")
    for _, body in blocks(README, "python"):
        done = subprocess.run([sys.executable, "-c", body], cwd=tmp_path, capture_output=True, text=True,
                              timeout=200, check=False)
        assert done.returncode == 0, done.stderr


def test_shell_files_open_with_what_to_expect():
    for path in sorted((REPO / "runs").glob("*.sh")):
        subprocess.run(["bash", "-n", str(path)], check=True)
        head = path.read_text(encoding="utf-8").splitlines()[:20]
        assert head[0] == "#!/usr/bin/env bash"
        assert all(any(line.startswith(f"# {word}:") for line in head) for word in ("Run", "Takes", "Expect"))
        assert os.access(path, os.X_OK)
