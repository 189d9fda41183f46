"""What the routes share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import Request as Call

from tenku.serving.access import Caller
from tenku.serving.asked import read_fields
from tenku.serving.db import Database
from tenku.serving.sources import Sources
from tenku.serving.store import Store

Fields = Annotated[dict[str, Any], Depends(read_fields)]


@dataclass
class Service:
    """A server's parts."""

    db: Database
    store: Store
    served: tuple[str, ...]  # names of models, the default first
    needs_key: bool
    most_queued: int = 1000
    models: Mapping[str, str] = field(default_factory=dict)  # served name -> Request.model, where they differ
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    wake: Callable[[], None] = lambda: None  # tells workers that there is work

    def sources(self, caller: Caller) -> Sources:
        """A place for what one call brings."""
        return Sources(self.db, self.store, caller.tenant, caller.name)


def service_of(call: Call) -> tuple[Service, Caller]:
    """What a route works with."""
    return call.app.state.service, call.state.caller
