"""Captions: from whoever can look at pictures. One interface: clips in, one sentence each out.

`given`: what somebody wrote down. `worlds`: our own probe, which knows the worlds that Tenku renders and nothing else.
`endpoint`: anything that speaks OpenAI's chat protocol with pictures. A folder: any vision-language model that
`transformers` saved there.
"""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tenku import media
from tenku.errors import UserError
from tenku.types import Clip
from tenku.world import captions as world_captions
from tenku.world.captions import REGISTERS

ADDRESS, MODEL, KEY = "TENKU_CAPTION_URL", "TENKU_CAPTION_MODEL", "TENKU_CAPTION_KEY"
SECONDS = 120.0  # that an endpoint may take for a clip
AT_ONCE = 4  # clips that an endpoint is asked about
LOOKS = 4  # pictures of a clip that are looked at
WORDS = 80  # tokens of an answer
MOST = 600  # characters that are kept of it
ORDER = ("These pictures are frames of one video, in order. Say in one plain sentence what is to be seen: what it is, "
         "its colour, what it does, where, in which light. No opinion, no guess, nothing that is not to be seen.")
# Of what the camera is measured to do (ingest/measure.py): the words of the world for it, where it has some.
CAMERA = {"static": "the camera is static", "pan left": "the camera pans left", "pan right": "the camera pans right",
          "crane up": "the camera cranes up", "dolly in": "the camera dollies in",
          "dolly out": "the camera dollies out"}


class Captioner(Protocol):
    """Whoever says what is to be seen."""

    name: str  # goes into the facts of every clip

    def say(self, clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
        """A sentence for each clip; "" for nothing. given: what somebody wrote down, "" for nothing."""


def captioner(spec: str) -> Captioner:
    """"given", "worlds", "endpoint", or the folder of a model. Raises UserError for what is none of them."""
    kinds = {"given": Written, "worlds": Worlds, "endpoint": Endpoint}
    if spec in kinds:
        return kinds[spec]()  # type: ignore[return-value]
    if not (Path(spec) / "config.json").is_file():
        raise UserError(f"no such captioner: {spec[:80]!r}",
                        f"{', '.join(kinds)}, or the folder of a vision-language model of transformers")
    return Seeing(Path(spec))


def registers(text: str, camera: str) -> dict[str, str]:
    """A sentence as training wants it, by register: the longest also says what the camera does."""
    plain = text.strip().rstrip(".")
    move = CAMERA.get(camera, "") if "camera" not in plain.lower() else ""
    whole = ", ".join(part for part in (plain, move) if part)
    return {register: whole if register == REGISTERS[-1] else plain for register in REGISTERS}


class Written:
    """What somebody wrote down, and nothing else."""

    name = "given"

    def say(self, clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
        return list(given)


class Worlds:
    """The probe's reading of a clip, in the world's own sentence. Sizes, which it does not read, are not said."""

    name = "worlds"

    def say(self, clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
        from tenku.evaluation.probe import bundled, read

        probe, _ = bundled()
        return [world_captions.prompt(size=None, **{field: word for field, (word, _) in reading.items()})
                for reading in read(probe, clips)]


class Endpoint:
    """An endpoint of the user's (TENKU_CAPTION_URL, _MODEL, _KEY) that speaks OpenAI's chat protocol with pictures."""

    def __init__(self) -> None:
        self.address = os.environ.get(ADDRESS, "").rstrip("/")
        if not re.match(r"https?://", self.address):
            raise UserError(f"no endpoint is named in {ADDRESS}", "such as http://127.0.0.1:8080/v1")
        self.model = os.environ.get(MODEL, "default")
        self.name = f"endpoint {self.model}"

    def say(self, clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._ask, clips, given))

    def _ask(self, clip: Clip, given: str) -> str:
        pictures = [media.encode(Clip(picture[None], 1.0), ".png") for picture in _look(clip)]
        urls = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in pictures]
        content: list[dict[str, Any]] = [{"type": "text", "text": _order(given)}]
        content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        body = {"model": self.model, "temperature": 0, "seed": 0, "max_tokens": WORDS,
                "messages": [{"role": "user", "content": content}]}
        headers = {"Content-Type": "application/json"}
        if os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {os.environ[KEY]}"
        call = urllib.request.Request(f"{self.address}/chat/completions", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(call, timeout=SECONDS) as answer:
                text = json.loads(answer.read(1 << 20))["choices"][0]["message"]["content"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
            raise UserError(f"the captioning endpoint gave no answer ({reason})",
                            "the same command again goes on where it stopped") from None
        return _tidy(str(text))


class Seeing:
    """A vision-language model of `transformers`, from a folder; nothing is fetched, and no code of its own is run."""

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoModelForImageTextToText, AutoProcessor
            from transformers.utils import logging
        except ImportError:
            raise UserError("captions by a model need transformers, which is not installed",
                            'pip install "tenku[captions]"') from None
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self.processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            self.model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True,
                                                                     use_safetensors=True).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise UserError(f"{folder.name} is no vision-language model: {str(error).splitlines()[0][:160]}",
                            "a folder that save_pretrained of such a model and of its processor wrote") from None
        self.name = folder.name

    def say(self, clips: Sequence[Clip], given: Sequence[str]) -> list[str]:
        return [self._one(clip, said) for clip, said in zip(clips, given, strict=True)]

    def _one(self, clip: Clip, given: str) -> str:
        import torch
        from PIL import Image

        pictures = [Image.fromarray(picture) for picture in _look(clip)]
        if getattr(self.processor, "chat_template", None):
            content = [*({"type": "image", "image": picture} for picture in pictures),
                       {"type": "text", "text": _order(given)}]
            asked = self.processor.apply_chat_template([{"role": "user", "content": content}], tokenize=True,
                                                       add_generation_prompt=True, return_dict=True,
                                                       return_tensors="pt")
        else:  # a captioner of single pictures, which is asked nothing
            asked = self.processor(images=pictures[len(pictures) // 2], return_tensors="pt")
        with torch.inference_mode():
            tokens = self.model.generate(**asked, max_new_tokens=WORDS, do_sample=False)
        told = asked["input_ids"].shape[1] if "input_ids" in asked else 0
        return _tidy(self.processor.batch_decode(tokens[:, told:], skip_special_tokens=True)[0])


def _look(clip: Clip) -> list[media.Frames]:
    """A few pictures of a clip, from its first to its last."""
    return [clip.frames[t] for t in np.unique(np.linspace(0, len(clip.frames) - 1, LOOKS).round().astype(int))]


def _order(given: str) -> str:
    return f"{ORDER} Somebody wrote of it: {given}" if given else ORDER


def _tidy(text: str) -> str:
    """One line, not too long; a stranger's model may answer anything."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:MOST]
