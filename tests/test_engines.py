"""Open models through diffusers: tiny ones of the real classes, against the pipelines of the library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_models
import pytest
import torch

from tenku import rng
from tenku.engines.loading import load
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.request import Request
from tenku.sampling import plain
from tenku.sampling.generate import Saved, generate
from tenku.sampling.modes import name_of
from tenku.sampling.plan import plan
from tenku.types import Clip

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

PROMPT, NEGATIVE = "a red ball on the beach", "night"
SIZE, FRAMES, STEPS, GUIDANCE = (64, 32), 9, 4, 3.0  # width and height


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Written when they are first asked for."""

    class Written(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            self[name] = open_models.write(name, tmp_path_factory.mktemp("open") / name)
            return self[name]

    return Written()


def opened(folder: Path) -> OpenEngine:
    engine = load(str(folder))
    assert isinstance(engine, OpenEngine)
    return engine


def asked(folder: Path, **fields: Any) -> dict[str, Any]:
    return {"prompt": PROMPT, "negative_prompt": NEGATIVE, "model": str(folder), "size": "64x32", "seconds": 0.5,
            "fps": 16, "steps": STEPS, "guidance": GUIDANCE, "seed": 3} | fields


def noise(engine: OpenEngine, seed: int = 3) -> torch.Tensor:
    """What sampling begins with, as the library's pipelines take it: 1 C S R Q."""
    grid = engine.grid(FRAMES, SIZE[1], SIZE[0], 16.0)
    drawn = rng.normal((1, grid.tokens, engine.channels), seed, "noise", 0)
    return drawn.unflatten(1, (grid.steps, grid.rows, grid.columns)).permute(0, 4, 1, 2, 3)


def picture(name: str = "picture") -> np.ndarray:
    return rng.stream(0, name).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def clip(frames: int, name: str = "clip") -> Clip:
    return Clip(rng.stream(0, name).integers(0, 256, (frames, SIZE[1], SIZE[0], 3), np.uint8), 16.0)


def pipeline_says(engine: OpenEngine, latents: torch.Tensor, **more: Any) -> np.ndarray:
    """Frames F H W 3, 0..1, of the library's own pipeline."""
    frames: np.ndarray = engine.pipe(
        prompt=PROMPT, negative_prompt=NEGATIVE, height=SIZE[1], width=SIZE[0], num_frames=FRAMES,
        num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=latents, output_type="np", **more,
    ).frames[0]
    return frames


def alike(made: np.ndarray, theirs: np.ndarray) -> None:
    """The same pictures: no number differs by more than its rounding."""
    assert made.shape == theirs.shape
    assert np.abs(made / 255 - theirs).max() < 0.51 / 255 + 1e-4


@pytest.mark.parametrize("name", ["wan21", "wan22", "wan22_5b"])
def test_from_words_the_clip_is_the_pipelines(folders, name):
    [result] = generate(**asked(folders[name]))
    engine = opened(folders[name])
    alike(result.clip.frames, pipeline_says(engine, noise(engine)))


@pytest.mark.parametrize("name", ["wan21_i2v", "wan22_i2v"])
def test_a_picture_that_the_network_takes_itself_moves_as_in_the_pipeline(folders, name):
    from PIL import Image

    shown = Clip(picture()[None], 16.0)
    source = name_of(shown)
    [result] = generate(**asked(folders[name], inputs=[source]), clips={source: shown})
    engine = opened(folders[name])
    theirs = pipeline_says(engine, noise(engine), image=Image.fromarray(picture()))
    alike(result.clip.frames[1:], theirs[1:])
    assert (result.clip.frames[0] == picture()).all()  # what is given stays


def test_a_picture_at_a_level_of_its_own_moves_as_in_the_pipeline(folders, tmp_path):
    from diffusers import WanImageToVideoPipeline
    from PIL import Image

    shown = Clip(picture()[None], 16.0)
    source = name_of(shown)
    [result] = generate(**asked(folders["wan22_5b"], inputs=[source]), clips={source: shown})
    engine = opened(folders["wan22_5b"])
    parts = {name: part for name, part in engine.pipe.components.items() if part is not None}
    theirs = WanImageToVideoPipeline(**parts, expand_timesteps=True)(
        image=Image.fromarray(picture()), prompt=PROMPT, negative_prompt=NEGATIVE, height=SIZE[1], width=SIZE[0],
        num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=noise(engine), output_type="np",
    ).frames[0]
    alike(result.clip.frames[1:], theirs[1:])


@pytest.mark.parametrize("name", ["wan21", "wan22", "wan22_5b"])
def test_the_velocity_is_what_the_pipeline_steps_by(folders, name, monkeypatch):
    engine = opened(folders[name])
    stepped: list[tuple[torch.Tensor, torch.Tensor]] = []
    step = engine.pipe.scheduler.step
    monkeypatch.setattr(engine.pipe.scheduler, "step",
                        lambda v, t, x, **more: stepped.append((x.clone(), v.clone())) or step(v, t, x, **more))
    pipeline_says(engine, noise(engine))
    request = Request.parse(asked(folders[name]))
    grid = engine.grid(FRAMES, SIZE[1], SIZE[0], 16.0)
    schedule = engine.schedule(STEPS, grid)
    one = plan(request, grid.steps, engine.longest)
    velocity = plain.velocity_of(engine, one, (grid, schedule, engine.see(None, grid)), torch.zeros(grid.tokens))
    assert len(stepped) == STEPS
    for (x, theirs), sigma in zip(stepped, schedule.sigmas.tolist(), strict=False):
        ours = velocity(x.permute(0, 2, 3, 4, 1).flatten(1, 3), sigma)
        torch.testing.assert_close(ours, theirs.permute(0, 2, 3, 4, 1).flatten(1, 3), rtol=0, atol=1e-5)


EVERY = pytest.mark.parametrize("name", list(open_models.MODELS))


def dreamt(folder: Path, given: list[Clip], **fields: Any) -> np.ndarray:
    """The frames of a request whose inputs are these clips."""
    clips = {name_of(one): one for one in given}
    named = [name_of(one) for one in given]
    [result] = generate(**asked(folder, inputs=named, steps=2, **fields), clips=clips)
    return result.clip.frames


@EVERY
def test_every_mode_keeps_what_is_given_and_dreams_the_rest_by_it(folders, name):
    folder, one, other = folders[name], clip(9, "one"), clip(9, "other")
    longer = dreamt(folder, [one], mode="extend")
    assert longer.shape == (17, 32, 64, 3)
    assert (longer[:9] == one.frames).all()
    assert (longer[9:] != dreamt(folder, [other], mode="extend")[9:]).any()  # it follows what it goes on from
    before = dreamt(folder, [one], mode="extend", way="backwards")
    assert (before[8:] == one.frames).all()
    blended = dreamt(folder, [one, other], mode="blend")
    assert blended.shape == (33, 32, 64, 3)  # 18 that are given, 8 that are asked for, and what fills a group
    assert (blended[:9] == one.frames).all()
    assert (blended[-9:] == other.frames).all()
    assert (blended[9:-9] != dreamt(folder, [one, one], mode="blend")[9:-9]).any()
    led = dreamt(folder, [Clip(one.frames[:1], 16.0)])
    assert (led[0] == one.frames[0]).all()
    assert (led[1:] != dreamt(folder, [Clip(other.frames[:1], 16.0)])[1:]).any()


@EVERY
def test_every_engine_makes_circles(folders, name):
    [result] = generate(**asked(folders[name], mode="loop", steps=2))
    assert result.clip.frames.shape == (8, 32, 64, 3)
    assert result.clip.frames.std() > 1
    one = clip(9)
    led_back = dreamt(folders[name], [one], mode="loop")
    assert (led_back[:9] == one.frames).all()
    assert len(led_back) == 17


def test_a_clip_longer_than_the_model_knows_is_dreamt_in_rounds_and_goes_on_after_any(folders, monkeypatch):
    engine = opened(folders["wan21"])
    monkeypatch.setattr(engine, "longest", 3)
    kept: list[Saved] = []
    wanted = asked(folders["wan21"], steps=2, seconds=1)
    [whole] = generate(**wanted, on_round=kept.append)
    assert whole.record["plan"]["rounds"] == (
        {"known": 0, "start": 0, "stop": 3, "end": 3}, {"known": 2, "start": 3, "stop": 5, "end": 5})
    assert (kept[0].finished().frames == whole.clip.frames[:9]).all()
    [again] = generate(**wanted, saved=kept[0])
    assert (again.clip.frames == whole.clip.frames).all()


def test_what_a_model_is_not_told_is_refused(folders):
    with pytest.raises(UserError, match="camera cannot be given"):
        generate(**asked(folders["wan21"], camera="pan left 10"))


def test_a_folder_of_no_known_kind_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(UserError, match="StableDiffusionPipeline, which is not known"):
        generate(**asked(tmp_path))
