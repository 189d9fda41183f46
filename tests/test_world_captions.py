"""Captions: true by construction, in words that the vocabulary knows."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tenku.errors import UserError
from tenku.rng import stream
from tenku.world import captions, grammar, lexicon
from tenku.world.captions import LEXICON, REGISTERS, caption, prompt, vocabulary, words
from tenku.world.grammar import draw

VOCABULARY = set(vocabulary())


def facts_of(scene, frames=33, done=None):
    """Facts as if everything that the scene intends had been proved."""
    things = [
        {"subject": t.subject, "colour": t.colour, "size": t.size, "action": t.action,
         "done": [t.action, *(["to the left"] if t.action == "flies across" else [])] if done is None else done}
        for t in scene.things
    ]  # fmt: skip
    relations = [{"a": r.a, "kind": r.kind, "b": r.b} for r in scene.relations]
    return {"scene": scene.to_json(), "frames": frames, "things": things, "relations": relations}


def synonyms(table, canonical):
    return (canonical, *table[canonical])


def says(text, phrases):
    plain = f" {' '.join(words(text))} "
    return any(f" {' '.join(words(p))} " in plain for p in phrases)


def test_the_vocabulary_is_complete_sorted_and_rich():
    for seed in range(1_500):
        facts = facts_of(draw(seed, "any"), frames=1 if seed % 9 == 0 else 33)
        for register in REGISTERS:
            text = caption(facts, register, stream(seed, register))
            assert set(words(text)) <= VOCABULARY, text
    assert list(vocabulary()) == sorted(VOCABULARY)
    assert 300 < len(VOCABULARY) < 600
    assert sum(len(s) for s in LEXICON.values()) > 200


def test_captions_name_the_subject_and_its_colour_and_everything_names_all():
    for seed in range(300):
        scene = draw(seed)
        main = scene.things[0]
        facts = facts_of(scene)
        for register in REGISTERS:
            text = caption(facts, register, stream(seed, register))
            assert says(text, synonyms(lexicon.SUBJECT, main.subject)), text
            assert says(text, synonyms(lexicon.COLOUR, main.colour)), text
        text = caption(facts, "everything", stream(seed, "all"))
        assert len(words(text)) <= 75, text
        assert says(text, synonyms(lexicon.SIZE, main.size)), text
        assert says(text, synonyms(lexicon.LIGHT, captions._LIGHT[scene.light])), text
        assert says(text, synonyms(lexicon.CAMERA, captions._CAMERA[scene.camera])), text


def test_the_canonical_word_is_said_at_least_half_the_time():
    facts = facts_of(draw(4))
    colour = facts["things"][0]["colour"]
    texts = [caption(facts, "sentence", stream(k, "x")) for k in range(400)]
    share = np.mean([colour in words(t) for t in texts])
    assert share > 0.5


def test_what_is_not_proved_is_not_said():
    names = words(" ".join(phrase for key, more in lexicon.SUBJECT.items() for phrase in (key, *more)))
    moving = {w for phrase in (*lexicon.VERB, *lexicon.DEED) for w in words(phrase) if w.endswith("ing")} - set(names)
    for seed in range(200):
        facts = facts_of(draw(seed), frames=1, done=[])
        facts["relations"] = []
        for register in REGISTERS:
            text = caption(facts, register, stream(seed, "nothing"))
            assert not set(words(text)) & moving, text


def test_a_still_picture_says_nothing_of_the_camera():
    for seed in range(100):
        text = caption(facts_of(draw(seed), frames=1, done=[]), "everything", stream(seed, "still"))
        assert "camera" not in words(text)


def test_same_facts_and_stream_give_the_same_words_and_facts_are_left_alone():
    facts = facts_of(draw(11))
    before = copy.deepcopy(facts)
    assert caption(facts, "sentence", stream(1, "a")) == caption(facts, "sentence", stream(1, "a"))
    assert facts == before


def test_prompts_are_canonical_sentences():
    text = prompt("ball", "red", "large", "bounces", "beach", "sunset", "orbit left")
    assert text == "A large red ball drops and bounces on a beach at sunset, the camera orbits left."
    for subject in grammar.SUBJECTS:
        for place in grammar.PLACES:
            for action in grammar.actions(subject, place):
                if action != "is hit":  # takes two
                    said = prompt(subject, "orange", "small", action, place, "day", "static")
                    assert set(words(said)) <= VOCABULARY


def test_an_unknown_register_is_refused():
    with pytest.raises(UserError, match="register"):
        caption(facts_of(draw(0)), "poem", stream(0, "x"))
