"""Webhooks, signed as Standard Webhooks (standardwebhooks.com): what the official client's `webhooks.unwrap` reads.

Who may add one is the operator, at the command line. Addresses that are private are refused unless they are named as
such, and redirects are never followed: a server must not be made to call its own neighbours.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import secrets
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select, update

from tenku.errors import UserError
from tenku.serving.access import LOCAL
from tenku.serving.db import Database, deliveries, hooks

PAUSES = (5, 30, 120, 600, 3600, 6 * 3600)  # seconds before the next try
PATIENCE = 5.0  # seconds for one call
PRIVATE = "private+"  # before the URL: the operator means an address of their own network


def add_hook(db: Database, url: str, tenant: str = LOCAL) -> tuple[str, str]:
    """Tells a URL of a tenant's videos from now on; returns id and secret. Raises UserError for no https URL."""
    target = urlsplit(url.removeprefix(PRIVATE))
    schemes = ("https", "http") if url.startswith(PRIVATE) else ("https",)
    if target.scheme not in schemes or not target.hostname or target.username or len(url) > 2000:
        raise UserError(f"a webhook cannot be {url[:80]!r}", "https://HOST/PATH, or private+http://... for your own")
    name, secret = f"hook_{secrets.token_hex(6)}", f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    with db.write() as connection:
        connection.execute(insert(hooks).values(id=name, tenant=tenant, url=url, secret=secret, created_at=db.clock))
    return name, secret


def all_hooks(db: Database) -> list[dict[str, Any]]:
    """The webhooks, without their secrets."""
    with db.read() as connection:
        return [dict(row) for row in connection.execute(
            select(hooks.c.id, hooks.c.tenant, hooks.c.url).order_by(hooks.c.created_at)).mappings()]


def remove_hook(db: Database, hook: str) -> None:
    """Raises UserError when there is none of that id."""
    with db.write() as connection:
        if not connection.execute(delete(hooks).where(hooks.c.id == hook)).rowcount:
            raise UserError(f"no such webhook: {hook[:40]!r}", "tenku hooks list")
        connection.execute(delete(deliveries).where(deliveries.c.hook == hook))


def sign(secret: str, name: str, at: int, body: str) -> dict[str, str]:
    """The headers of a delivery."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{name}.{at}.{body}".encode(), hashlib.sha256).digest()
    return {"webhook-id": name, "webhook-timestamp": str(at),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def deliver(db: Database) -> None:
    """Makes the deliveries that are due. Several servers may: each takes a delivery by moving its time ahead."""
    with db.read() as connection:
        due = connection.execute(select(deliveries.c.seq).where(
            deliveries.c.done_at.is_(None), deliveries.c.due_at < db.clock).limit(20)).scalars().all()
    for seq in due:
        with db.write() as connection:
            row = connection.execute(update(deliveries).where(
                deliveries.c.seq == seq, deliveries.c.done_at.is_(None), deliveries.c.due_at < db.clock).values(
                tries=deliveries.c.tries + 1, due_at=db.clock + 2 * PATIENCE).returning(deliveries)).mappings().first()
            hook = row and connection.execute(select(hooks).where(hooks.c.id == row["hook"])).mappings().first()
        if row and hook:
            _try(db, dict(row), dict(hook))


def _try(db: Database, row: dict[str, Any], hook: dict[str, Any]) -> None:
    try:
        status = _post(hook["url"], row["body"], sign(hook["secret"], row["id"], int(time.time()), row["body"]))
    except (OSError, http.client.HTTPException, ValueError):
        status = 0
    done = 200 <= status < 300 or row["tries"] > len(PAUSES)
    pause = 0 if done else PAUSES[row["tries"] - 1]
    with db.write() as connection:
        connection.execute(update(deliveries).where(deliveries.c.seq == row["seq"]).values(
            status=status, done_at=db.clock if done else None, due_at=db.clock + pause))


def _post(url: str, body: str, headers: dict[str, str]) -> int:
    """One call to the address that was checked, whatever the name says by then. Raises OSError."""
    target = urlsplit(url.removeprefix(PRIVATE))
    secure = target.scheme == "https"
    host, port = target.hostname or "", target.port or (443 if secure else 80)
    address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    if not ipaddress.ip_address(address).is_global and not url.startswith(PRIVATE):
        raise OSError("a private address")
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    connection.sock = socket.create_connection((address, port), PATIENCE)
    if secure:
        connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    try:
        connection.request("POST", (target.path or "/") + (f"?{target.query}" if target.query else ""), body.encode(),
                           {"content-type": "application/json", "user-agent": "tenku", **headers})
        return connection.getresponse().status
    finally:
        connection.close()
