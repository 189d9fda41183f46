"""The grammar: what can be drawn, what is held out, and that scenes travel as JSON."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tenku.errors import UserError
from tenku.world import grammar
from tenku.world.grammar import Scene, actions, cameras, draw, held_out, variant

SCENES = [draw(seed) for seed in range(5_000)]


def test_the_grammar_is_as_large_as_promised():
    assert len(grammar.SUBJECTS) == 18
    assert (len(grammar.COLOURS), len(grammar.SIZES), len(grammar.PLACES), len(grammar.LIGHTS)) == (10, 2, 8, 4)
    assert len(grammar.ACTIONS) >= 10
    assert len(grammar.CAMERAS) == 9


def test_training_never_draws_a_held_out_combination_and_held_out_always_does():
    assert not [scene for scene in SCENES if held_out(scene)]
    assert all(held_out(draw(seed, "held_out")) for seed in range(200))


def test_about_six_percent_of_each_kind_is_held_out():
    subjects_actions = {(s, a) for s in grammar.SUBJECTS for p in grammar.PLACES for a in actions(s, p)}
    wholes = {
        "subject x colour": {(s, c) for s in grammar.SUBJECTS for c in grammar.COLOURS},
        "subject x action": subjects_actions,
        "place x light": {(p, light) for p in grammar.PLACES for light in grammar.LIGHTS},
    }
    for kind, pairs in grammar.HELD_OUT.items():
        assert pairs <= wholes[kind], kind
        assert 0.04 < len(pairs) / len(wholes[kind]) < 0.09, kind


def test_every_word_is_drawn_and_most_scenes_have_one_subject():
    mains = [scene.things[0] for scene in SCENES]
    assert {m.subject for m in mains} == set(grammar.SUBJECTS)
    assert {m.action for m in mains} == set(grammar.ACTIONS)
    assert {scene.camera for scene in SCENES} == set(grammar.CAMERAS)
    assert {r.kind for scene in SCENES for r in scene.relations} == set(grammar.RELATIONS)
    counts = Counter(len(scene.things) for scene in SCENES)
    assert 0.55 < counts[1] / len(SCENES) < 0.72
    assert 0.03 < counts[3] / len(SCENES) < 0.14


def test_what_is_drawn_is_plausible():
    for scene in SCENES:
        main = scene.things[0]
        assert main.action in actions(main.subject, scene.place)
        assert scene.camera in cameras(main.action)
        assert (main.action == "is hit") == any(t.action == grammar.HITS for t in scene.things)


def test_scenes_survive_json():
    for scene in SCENES[:300]:
        assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


@pytest.mark.parametrize(
    ("field", "value"), [("place", "mars"), ("light", "dawn"), ("camera", "shaky"), ("things", []), ("relations", 3)]
)
def test_foreign_scenes_are_refused(field, value):
    with pytest.raises(UserError):
        Scene.from_json({**SCENES[0].to_json(), field: value})


def test_a_variant_keeps_what_was_not_asked_to_change():
    base = draw(3)
    changed = variant(base, subject="car", colour="yellow", place="desert", action="spins", light="fog")
    assert changed.things[0].colour == "yellow"
    assert (changed.place, changed.light, changed.seed) == ("desert", "fog", base.seed)
    assert len(variant(base, subject="ball", place="meadow", action="is hit").things) == 2
    with pytest.raises(UserError, match="cannot"):
        variant(base, subject="house", place="meadow", action="swings")
    with pytest.raises(UserError, match="does not belong"):
        variant(base, subject="fish", place="desert")
    with pytest.raises(UserError, match="lose"):
        variant(base, subject="ball", place="meadow", action="rests", camera="follow")


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="split"):
        draw(0, "test")
