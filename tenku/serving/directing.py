"""The director's suggestions for a prompt, so that one sees what would be added before anything is made."""

from __future__ import annotations

from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from tenku import director
from tenku.serving.asked import parse, refuse_unknown
from tenku.serving.service import Fields


def direct_prompt(call: Call, fields: Fields) -> Response:
    """A prompt completed in the words that the model learnt from, and what was added; the same for the same seed."""
    refuse_unknown(fields, ("prompt", "seed"))
    asked = parse(fields)
    found = director.direct(asked.prompt, asked.seed)
    return JSONResponse({"object": "prompt", "prompt": found.prompt, "added": list(found.added), "seed": asked.seed})
