"""Characters: names for things that prompts then may use.

The model knows things by words and not by pictures, so a character is what its name stands for. Of a video that Tenku
made the words are known: its manifest has the prompt.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from tenku.serving.db import Database, characters
from tenku.serving.errors import ApiError, missing
from tenku.world.mentions import things
from tenku.world.reading import read

if TYPE_CHECKING:
    from tenku.serving.sources import Sources

WORDS = 300  # characters of a description


def add_character(db: Database, tenant: str, name: str, description: str) -> dict[str, Any]:
    """Keeps a name and its words; the row. Raises ApiError for empty or too long ones."""
    for param, text, most in (("name", name, 80), ("description", description, WORDS)):
        if not isinstance(text, str) or not text.isprintable() or not 1 <= len(text.strip()) <= most:
            raise ApiError(400, f"{param} must be text of 1 to {most} characters", code="invalid_value", param=param)
    with db.write() as connection:
        return dict(connection.execute(insert(characters).values(
            id=f"char_{secrets.token_hex(12)}", tenant=tenant, name=name.strip(), description=description.strip(),
            created_at=db.clock).returning(characters)).mappings().one())


def find_character(db: Database, tenant: str, name: str, param: str = "id") -> dict[str, Any]:
    """One of a tenant's. Raises ApiError when there is none."""
    with db.read() as connection:
        row = connection.execute(select(characters).where(
            characters.c.id == name, characters.c.tenant == tenant)).mappings().first()
    if row is None:
        error = missing("character", name)
        error.param = param
        raise error
    return dict(row)


def described(sources: Sources, name: Any) -> tuple[str, str]:
    """A character's name and its words. Raises ApiError when the caller has none of that id."""
    row = find_character(sources.db, sources.tenant, str(name), "characters")
    return row["name"], row["description"]


def words_of(request: Mapping[str, Any]) -> str:
    """What the first thing of a video is, by the Request that made it. Raises ApiError where that is not known."""
    found = things(read(str(request.get("prompt", ""))).text)
    if not found:
        raise ApiError(400, "This model knows things by words and not by pictures, and what this video shows is not "
                            "known: give a description, such as 'a large red ball'", code="unsupported_mode",
                       param="video")
    first = found[0]
    words = " ".join(word for word in (first.size, first.colour, first.subject) if word)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def show(row: Mapping[str, Any]) -> dict[str, Any]:
    """The Character object."""
    return {"id": row["id"], "object": "character", "created_at": int(row["created_at"]), "name": row["name"],
            "description": row["description"]}
