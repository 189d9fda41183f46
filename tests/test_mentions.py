"""Mentions: the things of a text, in the order in which captions name them."""

from __future__ import annotations

from itertools import chain, product

import pytest

from tenku.rng import stream
from tenku.world import lexicon as lex
from tenku.world.captions import REGISTERS, caption
from tenku.world.grammar import draw
from tenku.world.mentions import Mention, filmed, followed, headed, setting, stacked, things, told
from tenku.world.simulate import Format, render


@pytest.mark.parametrize(("text", "said"), [
    ("a red ball bouncing on a beach at sunset", [("ball", "red", None)]),
    ("Small jet black LORRY behind the big cottages", [("truck", "black", "small"), ("house", None, "large")]),
    ("on a dark beach you can see an orange fish; it swims", [("fish", "orange", None)]),
    ("the drone flies. The pink drone spins. A blue drone rests", [("drone", "pink", None), ("drone", "blue", None)]),
    ("a box, a cup, a mug of tea, a jet and a red car", [("cube", None, None), ("coffee cup", None, None),
                                                         ("aeroplane", None, None)]),
    ("", []), ("purple rain", []),
])
def test_things_are_read_with_what_stands_before_them(text: str, said: list[tuple]) -> None:
    assert things(text) == tuple(Mention(*row) for row in said)


@pytest.mark.parametrize(("text", "said"), [
    ("a red ball bouncing on a beach at sunset", ("beach", "sunset")),
    ("Foggy road, a lorry", ("city street", "fog")),
    ("a fish at the bottom of the sea after dark", ("coral reef", "night")),
    ("a snowman in a park on a sunny day", ("meadow", "day")),
    ("a green cube", (None, None)), ("", (None, None)),
])
def test_place_and_light_are_read(text: str, said: tuple) -> None:
    assert setting(text) == said


def test_captions_say_the_setting_of_the_facts() -> None:
    for seed, register in product(range(12), REGISTERS):
        scene = draw(seed)
        facts = render(scene, Format(32, 32, 1, 16.0)).facts
        place, light = setting(caption(facts, register, stream(seed, "caption", register)))
        assert place in (scene.place, None)
        assert light in (scene.light, None)
        assert register == "few" or (place, light) == (scene.place, scene.light)


def test_captions_name_things_in_the_order_of_the_facts() -> None:
    for seed, register in product(range(6), REGISTERS):
        facts = render(draw(seed), Format(32, 32, 1, 16.0)).facts
        named = things(caption(facts, register, stream(seed, "caption", register)))
        truth = [(t["subject"], t["colour"], t["size"]) for t in facts["things"]]
        assert named
        for mention, (subject, colour, size) in zip(named, truth, strict=False):
            assert (mention.subject, mention.colour) == (subject, colour)
            assert mention.size in (size, None)
            if mention.size:
                thing = next(t for t in facts["things"] if t["subject"] == subject)
                assert mention.height == pytest.approx(thing["height"], abs=1e-3)


def test_what_no_text_says_is_drawn_from_the_seed() -> None:
    said = told(("a red ball on a beach at night",), 5)
    assert (said.things, said.place, said.light) == (things("a red ball"), "beach", "night")
    drawn = {(found.things[0].colour, found.place, found.light) for found in (told(("a ball",), i) for i in range(40))}
    assert len({colour for colour, _, _ in drawn}) > 4
    assert len({place for _, place, _ in drawn}) > 4
    assert {light for _, _, light in drawn} == {"day"}
    assert told(("a ball",), 3) == told(("a ball",), 3)
    assert all(told(("a fish",), i).place in ("open sea", "coral reef") for i in range(20))
    unsaid = told(("a ball",), None)
    assert (unsaid.things[0].colour, unsaid.place, unsaid.light) == (None, None, None)


def test_a_later_text_says_what_the_first_does_not() -> None:
    said = told(("it rolls away at sunset", "a blue cube in the snow by day"), None)
    assert (said.things, said.place, said.light) == (things("a blue cube"), "snow", "sunset")
    assert told(("a cube swings",), 1).swing
    assert not told(("a cube rests", "a cube swings"), 1).swing


def test_a_camera_of_which_nothing_is_said_stands_still() -> None:
    assert filmed("a red ball on a beach.") == "a red ball on a beach, the camera is static"
    assert filmed("") == ""
    tables = {**lex.CAMERA, **lex.CAMERA_SHORT}
    for phrase in (*tables, *chain(*tables.values())):
        assert filmed(f"a red ball, {phrase}") == f"a red ball, {phrase}"
    follows = {phrase for phrase in (*tables, *chain(*tables.values())) if followed(f"a red ball, {phrase}")}
    assert follows >= {"the camera follows", "following camera", "tracking shot"}
    assert not follows & {"the camera is static", "the camera dollies in", "panning left"}


@pytest.mark.parametrize(("text", "wanted"), [
    ("A red car driving down a street", "A red car driving to the {} down a street"),
    ("an aeroplane flies across over the snow, the camera pans left",
     "an aeroplane flies across to the {} over the snow, the camera pans left"),
    ("A ball rolls behind a cube while the camera moves closer",
     "A ball rolls to the {} behind a cube while the camera moves closer"),
])
def test_what_moves_goes_to_a_side_where_nothing_is_said(text: str, wanted: str) -> None:
    found = {headed(text, seed) for seed in range(20)}
    assert found == {wanted.format(side) for side in ("left", "right")}


@pytest.mark.parametrize("text", [
    "", "a drone flies up over a beach", "a sailing boat floats on the waves", "a car drives away, the camera moves in",
    "a ball rolls from left to right", "it is a tracking shot of a cube at rest", "a truck drives into the distance",
])
def test_what_goes_somewhere_already_or_does_not_move_stays(text: str) -> None:
    assert headed(text, 0) == text


def test_a_thing_on_another_is_not_one_on_a_beach() -> None:
    assert stacked("A robot stands on a large green cube on a beach")
    assert stacked("a ball atop a truck")
    assert not stacked("a small car leaps to the left of a tiny lorry on a beach")
    assert not stacked("a cone on the left of a cube in the snow")
