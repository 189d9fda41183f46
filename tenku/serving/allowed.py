"""The one place where the server asks the policy (`tenku.policy`) what it may make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tenku.errors import UserError
from tenku.policy import Policy, Refused
from tenku.request import Request
from tenku.serving.errors import ApiError
from tenku.serving.sources import Sources


def allow(request: Request, sources: Sources) -> None:
    """Raises ApiError for a request that a rule forbids; its pictures are those that the call brought."""

    def path(name: str) -> str:
        return str(sources.found[name].path) if name in sources.found else name

    with _refusals():
        inputs = tuple(replace(one, source=path(one.source)) for one in request.inputs)
        Policy.find().check(replace(request, inputs=inputs, mask=path(request.mask)), sources.key)


def allow_words(texts: Sequence[tuple[str, str]], key: str) -> None:
    """Raises ApiError for (field, text) pairs that a rule forbids."""
    with _refusals():
        Policy.find().check_words(texts, key)


def allow_character(name: str, description: str, key: str) -> None:
    """Raises ApiError for a character that a rule forbids. It is words and shows nobody, so nobody needs to agree."""
    with _refusals():
        Policy.find().check_character(name, consent=True, key=key)
        Policy.find().check_words([("description", description)], key)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Refused as no:
        raise ApiError(400, f"Refused by the rule {no.rule}: {no.says}", code="policy_violation",
                       param=no.field) from None
    except UserError:  # a moderation that must answer and does not, a policy that cannot be read
        raise ApiError(503, "What may be made cannot be decided now", code="policy_unavailable",
                       headers={"Retry-After": "10"}) from None
