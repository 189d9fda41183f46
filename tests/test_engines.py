"""Open models through diffusers: tiny ones of the real classes, against the pipelines of the library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_models
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from tenku import rng
from tenku.engines.cogvideox import CogVideoX
from tenku.engines.hunyuan import HunyuanVideo15
from tenku.engines.loading import load
from tenku.engines.ltx import LTX, LTX2, LTXCondition
from tenku.engines.open import OpenEngine
from tenku.errors import UserError
from tenku.film.make import make
from tenku.film.storyboard import parse
from tenku.media import read_clip
from tenku.model.flow import variance_preserving
from tenku.model.patches import Grid
from tenku.provenance.verify import Verdict, examine
from tenku.request import Request
from tenku.sampling import plain
from tenku.sampling.generate import Saved, generate
from tenku.sampling.modes import name_of
from tenku.sampling.plan import plan
from tenku.types import Clip

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
    """What sampling begins with, 1 C S R Q; flat, 1 N C, where sound is dreamt beside it."""
    grid = engine.grid(FRAMES, SIZE[1], SIZE[0], 16.0)
    drawn = rng.normal((1, grid.tokens + engine.beside(grid), engine.channels), seed, "noise", 0)
    if engine.beside(grid):  # the same stream goes on
        return drawn
    return drawn.unflatten(1, (grid.steps, grid.rows, grid.columns)).permute(0, 4, 1, 2, 3)


def theirs(engine: OpenEngine, latents: torch.Tensor) -> torch.Tensor:
    """Latents 1 C S R Q as the pipelines of that family hold them."""
    if isinstance(engine, LTX):
        packed: torch.Tensor = engine.pipe._pack_latents(latents, *engine.patch)
        return packed
    return latents.transpose(1, 2) if isinstance(engine, CogVideoX) else latents


def ours(engine: OpenEngine, latents: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The inverse of `theirs`, as latents 1 N C."""
    if isinstance(engine, LTX2):
        return latents
    if isinstance(engine, LTX):
        latents = engine.pipe._unpack_latents(latents, grid.steps, grid.rows, grid.columns, *engine.patch) \
            if latents.ndim == 3 else latents
    elif isinstance(engine, CogVideoX):
        latents = latents.transpose(1, 2)
    return latents.permute(0, 2, 3, 4, 1).flatten(1, 3)


def picture(name: str = "picture") -> np.ndarray:
    return rng.stream(0, name).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


def clip(frames: int, name: str = "clip") -> Clip:
    return Clip(rng.stream(0, name).integers(0, 256, (frames, SIZE[1], SIZE[0], 3), np.uint8), 16.0)


def pipeline_says(engine: OpenEngine, latents: torch.Tensor, **more: Any) -> np.ndarray:
    """Frames F H W 3, 0..1, of the library's own pipeline."""
    if isinstance(engine, HunyuanVideo15):  # its guidance is a part of its own; that from a picture has its size
        assert engine.pipe.guider.guidance_scale == GUIDANCE
        more |= {} if "image" in more else {"height": SIZE[1], "width": SIZE[0]}
    else:
        more |= {"height": SIZE[1], "width": SIZE[0], "guidance_scale": GUIDANCE}
    if isinstance(engine, LTX):
        more["frame_rate"] = 16
    if isinstance(engine, CogVideoX):
        more["max_sequence_length"] = engine.pipe.transformer.config.max_text_seq_length
    with pytest.MonkeyPatch.context() as patch:  # some draw a picture's latents from those that it may have
        patch.setattr(DiagonalGaussianDistribution, "sample", lambda dist, _=None: dist.mode())
        if isinstance(engine, LTXCondition):  # which takes no noise, but draws it
            patch.setattr("diffusers.pipelines.ltx.pipeline_ltx_condition.randn_tensor", lambda *_, **__: latents)
        elif isinstance(engine, LTX2):  # the guidance that Tenku knows, alone
            sound = engine.beside(engine.grid(FRAMES, SIZE[1], SIZE[0], 16.0))
            more |= {"latents": latents[:, :-sound], "audio_latents": latents[:, -sound:], "stg_scale": 0.0,
                     "modality_scale": 1.0, "guidance_rescale": 0.0, "audio_guidance_scale": GUIDANCE,
                     "audio_stg_scale": 0.0, "audio_modality_scale": 1.0, "audio_guidance_rescale": 0.0}
        else:
            more["latents"] = theirs(engine, latents)
        frames: np.ndarray = engine.pipe(
            prompt=PROMPT, negative_prompt=NEGATIVE, num_frames=FRAMES, num_inference_steps=STEPS, output_type="np",
            **more,
        ).frames[0]
    return frames


def alike(made: np.ndarray, shows: np.ndarray) -> None:
    """The same pictures: no number differs by more than its rounding."""
    assert made.shape == shows.shape
    assert np.abs(made / 255 - shows).max() < 0.51 / 255 + 1e-4


FROM_WORDS = pytest.mark.parametrize(
    "name", ["wan21", "wan22", "wan22_5b", "ltx", "ltx_condition", "ltx2", "cogvideox_2b", "cogvideox15", "hunyuan15"])


@pytest.mark.parametrize("name", ["wan21_i2v", "wan22_i2v", "cogvideox_i2v", "hunyuan15_i2v"])
def test_a_picture_that_the_network_takes_itself_moves_as_in_the_pipeline(folders, name):
    from PIL import Image

    shown = Clip(picture()[None], 16.0)
    source = name_of(shown)
    [result] = generate(**asked(folders[name], inputs=[source]), clips={source: shown})
    engine = opened(folders[name])
    shows = pipeline_says(engine, noise(engine), image=Image.fromarray(picture()))
    alike(result.clip.frames[1:], shows[1:])
    assert (result.clip.frames[0] == picture()).all()  # what is given stays


@pytest.mark.parametrize("name", ["wan22_5b", "ltx"])
def test_a_picture_at_a_level_of_its_own_moves_as_in_the_pipeline(folders, name, monkeypatch):
    from diffusers import LTXImageToVideoPipeline, WanImageToVideoPipeline
    from PIL import Image

    shown = Clip(picture()[None], 16.0)
    source = name_of(shown)
    [result] = generate(**asked(folders[name], inputs=[source]), clips={source: shown})
    engine = opened(folders[name])
    begins = noise(engine)
    parts = {name: part for name, part in engine.pipe.components.items() if part is not None}
    if name == "ltx":
        monkeypatch.setattr(engine, "pipe", LTXImageToVideoPipeline(**parts))
        begins[:, :, :1] = engine.encode(picture()[None]).permute(0, 4, 1, 2, 3)  # it takes what is known as latents
    else:
        monkeypatch.setattr(engine, "pipe", WanImageToVideoPipeline(**parts, expand_timesteps=True))
    shows = pipeline_says(engine, begins, image=Image.fromarray(picture()))
    alike(result.clip.frames[1:], shows[1:])


@FROM_WORDS
def test_from_words_clip_and_velocity_are_the_pipelines(folders, name, monkeypatch):
    [result] = generate(**asked(folders[name]))
    engine = opened(folders[name])
    stepped: list[tuple[torch.Tensor, torch.Tensor]] = []
    kind = type(engine.pipe.scheduler)
    step = kind.step

    def stepping(self: Any, v: torch.Tensor, t: Any, x: torch.Tensor, **more: Any) -> Any:
        stepped.append((x.clone(), v.clone()))
        return step(self, v, t, x, **more)

    monkeypatch.setattr(kind, "step", stepping)
    alike(result.clip.frames, pipeline_says(engine, noise(engine)))
    monkeypatch.undo()
    if isinstance(engine, LTX2):  # which steps the sound after the picture
        stepped = [(torch.cat([x, xs], 1), torch.cat([v, vs], 1))
                   for (x, v), (xs, vs) in zip(stepped[::2], stepped[1::2], strict=True)]
    request = Request.parse(asked(folders[name]))
    grid = engine.grid(FRAMES, SIZE[1], SIZE[0], 16.0)
    schedule = engine.schedule(STEPS, grid)
    one = plan(request, grid.steps, engine.longest)
    velocity = plain.velocity_of(engine, one, schedule, engine.see(None, grid),
                                 torch.zeros(grid.tokens + engine.beside(grid)))
    assert len(stepped) == STEPS
    for (x, v), sigma in zip(stepped, schedule.sigmas.tolist(), strict=False):
        if isinstance(engine, CogVideoX):  # x = (data X + noise E), v = (data E - noise X), seen on the straight line
            data, noisy, scale = variance_preserving(sigma)
            x, v = x / scale, (data + noisy) * v + (noisy - data) * x
        if isinstance(engine, LTXCondition):  # which steps by the other sign
            v = -v
        found = velocity(ours(engine, x, grid), sigma)
        torch.testing.assert_close(found, ours(engine, v, grid), rtol=0, atol=1e-5)


EVERY = pytest.mark.parametrize("name", list(open_models.MODELS))


def dreamt(folder: Path, given: list[Clip], **fields: Any) -> np.ndarray:
    """The frames of a request whose inputs are these clips."""
    clips = {name_of(one): one for one in given}
    named = [name_of(one) for one in given]
    [result] = generate(**asked(folder, inputs=named, steps=2, guidance=1, negative_prompt="", **fields), clips=clips)
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
    led = dreamt(folder, [Clip(one.frames[:1], 16.0)])
    assert (led[0] == one.frames[0]).all()
    assert (led[1:] != dreamt(folder, [Clip(other.frames[:1], 16.0)])[1:]).any()


@EVERY
def test_every_engine_makes_circles(folders, name):
    [result] = generate(**asked(folders[name], mode="loop", steps=2, guidance=1, negative_prompt=""))
    assert result.clip.frames.shape == (8, 32, 64, 3)
    assert result.clip.frames.std() > 1
    one = clip(9)
    led_back = dreamt(folders[name], [one], mode="loop")
    assert (led_back[:9] == one.frames).all()
    assert len(led_back) == 17


@pytest.mark.parametrize("name", ["wan22_5b", "ltx", "ltx2", "cogvideox15", "hunyuan15"])
def test_a_film_is_made_with_every_family(folders, tmp_path, name):
    board = parse(f"""
model: {folders[name]}
size: 64x32
steps: 2
shots:
  - {{prompt: a red ball, seconds: 0.5}}
  - {{prompt: a blue cube on the beach, seconds: 0.5, continues: true}}
  - {{prompt: a red cube at night, seconds: 0.5, transition: dream 0.5, captions: ["0.3: a blue ball"]}}
""", "story", tmp_path)
    film = make(board, tmp_path / "film.mp4")
    assert film.made == 4
    assert film.frames == len(read_clip(film.path).frames) > 20
    assert examine(film.path).verdict == Verdict.MADE
    assert make(board, tmp_path / "film.mp4").kept == 4


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
