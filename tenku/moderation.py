"""An operator's moderation endpoint, asked in the words of OpenAI's `POST /v1/moderations`.

Nothing is sent anywhere unless a policy file names an address, and the file must say what happens when no answer comes.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenku.errors import UserError

UNANSWERED = ("refuse", "allow")
MAX_ANSWER = 1 << 20  # bytes
SIDE = 512  # pixels, at most, of a picture that is sent
_FIELDS = ("url", "unanswered", "model", "key", "seconds", "categories", "images")


@dataclass(frozen=True)
class Moderation:
    """Where to ask, and what to make of the answer."""

    url: str  # the whole address, such as http://127.0.0.1:8080/v1/moderations
    unanswered: str  # of UNANSWERED: what happens without an answer
    model: str = "omni-moderation-latest"
    key: str = ""  # the environment variable that holds the endpoint's key
    seconds: float = 5.0  # that an answer may take, all together
    categories: tuple[str, ...] = ()  # only these count; () takes the endpoint's own verdict
    images: bool = False  # also send what the request is made from

    @classmethod
    def parse(cls, name: str, values: Any) -> Moderation:
        """Reads the table `moderation` of a policy file. Raises UserError."""
        here = f"{name}: moderation"
        if not isinstance(values, dict) or set(values) - set(_FIELDS):
            raise UserError(f"{here} has other fields", ", ".join(_FIELDS))
        if not re.fullmatch(r"https?://[^\s]+", str(values.get("url"))):
            raise UserError(f"{here}.url cannot be {str(values.get('url'))[:60]!r}", "http:// or https://")
        if values.get("unanswered") not in UNANSWERED:
            raise UserError(f"{here}.unanswered is not said", 'what happens without an answer: "refuse" or "allow"')
        seconds = values.get("seconds", cls.seconds)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.1 <= seconds <= 60:
            raise UserError(f"{here}.seconds cannot be {str(seconds)[:40]!r}", "from 0.1 to 60")
        kinds = {"model": str, "key": str, "images": bool, "categories": list}
        if any(k in values and not isinstance(values[k], kind) for k, kind in kinds.items()):
            raise UserError(f"{here}: a field is of the wrong kind", "see docs/policy.md")
        rest = {k: values[k] for k in ("url", "unanswered", "model", "key", "images") if k in values}
        return cls(**rest, seconds=float(seconds), categories=tuple(map(str, values.get("categories", []))))

    def ask(self, words: Sequence[str], pictures: Sequence[Path] = ()) -> str:
        """The category that the endpoint flags, "unanswered" where none answers and that means no, else "".

        Raises UserError for a picture that cannot be read.
        """
        parts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in words if text]
        if self.images:
            parts += [{"type": "image_url", "image_url": {"url": _shown(path)}} for path in pictures]
        body: Any = parts if self.images and pictures else [part["text"] for part in parts]
        try:
            results = self._results({"model": self.model, "input": body})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "unanswered" if self.unanswered == "refuse" else ""
        for result in results:
            kinds = [kind for kind, said in result["categories"].items() if said is True]
            if self.categories:
                kinds = [kind for kind in kinds if kind in self.categories]
            if kinds or (result["flagged"] is True and not self.categories):
                return re.sub(r"[^a-z0-9/_-]", "", kinds[0].lower())[:40] if kinds else "flagged"
        return ""

    def _results(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The endpoint's list of results. Raises OSError, ValueError, KeyError or TypeError where it gives none."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {os.environ.get(self.key, '')}"
        call = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        until = time.monotonic() + self.seconds
        opener = urllib.request.OpenerDirector()  # follows no redirection: what goes to one address goes to no other
        for handler in (urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
                        urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler()):
            opener.add_handler(handler)
        answer, data = opener.open(call, timeout=self.seconds), b""
        assert answer is not None  # for http and https there is a handler
        with answer:
            while block := answer.read1(1 << 16):
                data += block
                if time.monotonic() > until or len(data) > MAX_ANSWER:
                    raise TimeoutError
        results = json.loads(data)["results"]
        if not isinstance(results, list) or not results or any(
                not isinstance(r["categories"], dict) or not isinstance(r["flagged"], bool) for r in results):
            raise ValueError("no moderation")
        return results


def _shown(path: Path) -> str:
    """A reference's first picture as a data address, small."""
    from PIL import Image

    from tenku import media, untrusted
    from tenku.types import Clip

    picture = Image.fromarray(untrusted.read(path, 1).frames[0])
    picture.thumbnail((SIDE, SIDE))
    data = media.encode(Clip(np.asarray(picture)[None], 1.0), ".png")
    return "data:image/png;base64," + base64.b64encode(data).decode()
