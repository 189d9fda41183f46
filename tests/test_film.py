"""Films: storyboards with errors that point at the place, shots that are kept, cuts, and the seal over all."""

from __future__ import annotations

import json
from pathlib import Path

import c2pa
import numpy as np
import opentimelineio as otio
import pytest

from tenku import media
from tenku.cli import main
from tenku.errors import UserError
from tenku.film.make import make
from tenku.film.storyboard import SETTINGS, SHOT, read
from tenku.film.text import captioned, card
from tenku.provenance.verify import Verdict, examine

STORY = """\
title: Two balls
size: 64x48
steps: 2
seed: 3
model: {model}
cast: {{hero: a red ball}}
style: on a beach
shots:
  - {{prompt: "{{hero}} rests", seconds: 0.5, text: Morning}}
  - {{prompt: "{{hero}} falls", seconds: 0.5, transition: dissolve 0.25, camera: "dolly in 1"}}
  - {{prompt: "{{hero}} jumps", seconds: 0.5, transition: dream 0.5, captions: ["0.3: a blue ball"]}}
  - {{prompt: "{{hero}} rolls", seconds: 0.5, continues: true}}
"""


@pytest.fixture
def story(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "story.yaml"
    path.write_text(STORY.format(model=tiny_model))
    return path


def test_a_storyboard_is_read(story):
    board = read(story)
    assert board.shots[1].request.prompt == "a red ball falls, on a beach"
    assert [shot.request.seed for shot in board.shots] == [3, 4, 5, 6]
    assert [shot.transition for shot in board.shots] == ["cut", "dissolve", "dream", "cut"]
    assert board.shots[2].request.captions == ((0.3, "a blue ball"),)
    assert board.shots[1].request.camera == "dolly in 1"
    assert [shot.line for shot in board.shots] == [9, 10, 11, 12]


WRONG = {  # what is wrong -> where it is said to be, what is said
    "shots:\n  - {prompt: a, secconds: 2}": (":2: shots[1].secconds: no such field", "do you mean seconds?"),
    "shots:\n  - prompt: a\n    seconds: -1": (":3: shots[1].seconds: ", "from 0 to 60"),
    "shots:\n  - prompt: a\n    camera: fly": (":3: shots[1].camera: ", "moves"),
    "shots:\n  - prompt: a\n    tracks: [x]": (":3: shots[1].tracks: ", "such as"),
    "shots:\n  - prompt: a\n  - prompt: a\n    transition: fade": (":4: shots[2].transition: ", "dissolve"),
    "shots:\n  - prompt: a\n    transition: dissolve": (":3: shots[1].transition: ", "first shot"),
    "shots:\n  - prompt: a\n    continues: true": (":3: shots[1].continues: ", "first shot"),
    "shots:\n  - prompt: '{her} falls'": (":2: shots[1].prompt: her is not in the cast", "nobody"),
    "shots:\n  - seconds: 2": (":2: shots[1]: the shot has no prompt", "what to show"),
    "shots:\n  - prompt: a\n    prompt: b": (":3: shots[1].prompt: is there twice", "leave"),
    "shots: []": (":1: shots: the film has no shots", "list"),
    "titel: x\nshots: [{prompt: a}]": (":1: titel: no such field", "title"),
    "shots:\n  - prompt: a\n  bad": (":", "docs/film.md"),
    "shots: &a [*a]": ("aliases", "write it out"),
    "- a": (":1: the storyboard is no mapping", "docs/film.md"),
    "": (":1: the storyboard is no mapping", "docs/film.md"),
    "sound: x.wav\nshots: [{prompt: a}]": (":1: sound: there is no file x.wav", "beside"),
    "shots:\n  - {prompt: a, keyframes: [../../etc/passwd]}": (":2: shots[1]", "same folder"),
    "shots:\n  - {prompt: !!python/object:os.system a}": (":2: shots[1].prompt: no plain value", "text"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_with_line_and_field(text, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path)
    where, hint = WRONG[text]
    assert where in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_film_is_cut_sealed_and_made_again_only_where_it_changed(story, capsys):
    assert main(["film", str(story), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["made"], first["kept"]) == (5, 0)
    path = Path(first["path"])
    clip = media.read_clip(path)
    # title 32; 9; 9 that overlap by 4; the way of 8 and more in whole groups; 9; 8 that go on
    between = first["cuts"][2]["frames"]
    assert between >= 8
    assert len(clip.frames) == 32 + 9 + 9 - 4 + between + 9 + first["cuts"][-1]["frames"]
    assert clip.frames[:2, :20].max() < 60  # the title comes out of black; the mark is below
    report = examine(path)
    assert report.verdict is Verdict.MADE
    with path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        store = json.loads(reader.json())
    assert len(store["manifests"][store["active_manifest"]]["ingredients"]) == 5
    assert len(store["manifests"]) >= 6

    timeline = otio.adapters.read_from_file(first["timeline"])  # an editor can go on
    [track] = timeline.tracks
    clips = [item for item in track if isinstance(item, otio.schema.Clip)]
    assert [item.name for item in clips] == ["shot 1", "shot 2", "the way to shot 3", "shot 3", "shot 4"]
    assert track.duration().value == first["frames"] - 32  # all but the title
    assert all((story.parent / item.media_reference.target_url).is_file() for item in clips)
    assert any(isinstance(item, otio.schema.Transition) for item in track)

    pictures = clip.frames
    story.write_text(story.read_text().replace("falls", "jumps"))
    assert main(["film", str(story), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["made"] == 2  # the shot, and the way that begins with its end
    assert again["kept"] == 3
    changed = media.read_clip(path).frames
    assert not np.array_equal(changed[50:55], pictures[50:55])

    before = make(read(story), path)
    story.write_text(story.read_text().replace("Morning", "Evening"))
    after = make(read(story), path)
    assert before.made == after.made == 0  # words on pictures dream nothing
    assert np.array_equal(after.clip.frames[60:], before.clip.frames[60:])  # before they are marked
    assert not np.array_equal(after.clip.frames[32:38], before.clip.frames[32:38])


def test_a_broken_shot_leaves_no_film(story, monkeypatch, tmp_path):
    text = story.read_text().replace("prompt: \"{hero} jumps\",", "prompt: \"{hero} jumps\", keyframes: [no.png],")
    story.write_text(text)
    assert main(["film", str(story)]) == 2
    assert not (tmp_path / "story.mp4").exists()
    assert all(path.suffix in (".mp4", ".locked", ".yaml") or path.is_dir() for path in tmp_path.rglob("*"))


def test_checking_makes_nothing(story, tmp_path, capsys):
    assert main(["film", str(story), "--check"]) == 0
    assert "4 shots, 2 s" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["story.yaml"]


def test_titles_come_and_go_and_captions_stand_at_the_bottom():
    title = card("The red ball", (48, 64), 16)
    light = title.max((1, 2, 3))
    assert light[0] == light[-1] == 0
    assert light[8] > 150
    grey = np.full((2, 48, 64, 3), 128, np.uint8)
    said = captioned(grey, "Morning")
    assert np.array_equal(said[:, :30], grey[:, :30])
    assert said[:, 36:].max() > 200
    assert captioned(grey, "") is grey


def test_the_documented_storyboard_is_one(tmp_path, repo):
    import re

    text = re.search(r"```yaml\n(.*?)```", (repo / "docs" / "film.md").read_text(), re.DOTALL)
    assert text is not None
    (tmp_path / "s.yaml").write_text(text[1])
    assert len(read(tmp_path / "s.yaml").shots) == 3


def test_the_storyboard_of_the_repository_is_fifteen_seconds_of_one_subject(repo):
    shots = read(repo / "runs" / "film.yaml").shots
    assert sum(shot.request.seconds for shot in shots) == 15
    assert all(shot.request.prompt.startswith("a large red ball ") for shot in shots)


def test_the_schema_for_editors_knows_what_the_reader_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema
    import yaml

    assert main(["film", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) == set(SETTINGS)
    assert set(schema["$defs"]["shot"]["properties"]) == set(SHOT)
    check = jsonschema.Draft202012Validator(schema)
    root = Path(__file__).parents[1]
    example = (root / "docs/film.md").read_text().split("```yaml\n")[1].split("```")[0]
    for text in (example, (root / "runs/film.yaml").read_text(), STORY.format(model="nano")):
        check.validate(yaml.safe_load(text))
    for wrong in ("shots: []", "shot: [{prompt: a}]", "shots: [{prompt: a, second: 1}]",
                  "shots: [{prompt: a, transition: wipe}]", "size: big\nshots: [{prompt: a}]"):
        assert not check.is_valid(yaml.safe_load(wrong))
        (tmp_path / "wrong.yaml").write_text(wrong)
        with pytest.raises(UserError):
            read(tmp_path / "wrong.yaml")


def test_a_forbidden_shot_is_refused_with_its_line(tmp_path, capsys):
    board = tmp_path / "story.yaml"
    board.write_text("shots:\n  - {prompt: a red ball, seconds: 1}\n  - {prompt: a n4ked woman, seconds: 1}\n")
    assert main(["film", str(board)]) == 2
    assert "story.yaml:3: prompt is refused by the rule sexual" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [board]
