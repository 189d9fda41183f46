"""Keys over the API, for callers with the scope admin: what `tenku keys` does on the server's machine."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request as Call
from starlette.responses import JSONResponse, Response

from tenku.errors import UserError
from tenku.serving.access import SCOPES, add_key, all_keys, revoke_key
from tenku.serving.asked import refuse_unknown
from tenku.serving.errors import ApiError, missing
from tenku.serving.service import Fields, service_of

KeyId = Annotated[str, Path(pattern=r"^key_[0-9a-f]{12}$", examples=["key_0123456789ab"])]

LIMITS = {"most_waiting": 31, "most_daily": 31, "most_bytes": 63, "share": 7}  # and in how many bits they are kept


def list_keys(call: Call) -> Response:
    """All keys, without their secrets."""
    service, _ = service_of(call)
    return JSONResponse({"object": "list", "data": [_key(row) for row in all_keys(service.db)]})


def create_key(call: Call, fields: Fields) -> Response:
    """Makes a key: name, scopes, most_waiting, most_daily, most_bytes, share. The answer has the secret, this once."""
    service, _ = service_of(call)
    refuse_unknown(fields, ("name", "scopes", *LIMITS))
    name, scopes = fields.get("name"), fields.get("scopes", ["read", "write"])
    limits: dict[str, Any] = {limit: fields.get(limit) for limit in LIMITS}
    whole = [value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**most)
             for value, most in zip(limits.values(), LIMITS.values(), strict=True)]
    for param, fine in (("name", isinstance(name, str) and 1 <= len(name.strip()) <= 80 and name.isprintable()),
                        ("scopes", isinstance(scopes, list) and bool(scopes) and all(s in SCOPES for s in scopes)),
                        *zip(limits, whole, strict=True)):
        if not fine:
            raise ApiError(400, f"{param} cannot be so", code="invalid_value", param=param)
    id_, secret = add_key(service.db, str(name).strip(), scopes=sorted(set(scopes), key=SCOPES.index),
                          **{name: value for name, value in limits.items() if value is not None})
    made = next(row for row in all_keys(service.db) if row["id"] == id_)
    return JSONResponse({**_key(made), "key": secret})


def revoke(call: Call, id: KeyId) -> Response:
    """Ends a key at once."""
    service, _ = service_of(call)
    try:
        revoke_key(service.db, id)
    except UserError:
        raise missing("key", id) from None
    return JSONResponse({"id": id, "object": "key.deleted", "deleted": True})


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {"object": "key", **row}
