"""`tenku keys`: who may use a server."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from tenku.cli.serve import add_storage, storage, whole
from tenku.cli.table import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """add, list, revoke."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|list|revoke")
    add = verbs.add_parser("add", help="make a key; its secret is printed once", allow_abbrev=False)
    add.add_argument("label", metavar="NAME", help="whose it is")
    add.add_argument("--tenant", default="", metavar="NAME",
                     help="keys of one tenant share their videos (default: a tenant of its own)")
    add.add_argument("--scope", action="append", default=[], metavar="SCOPE",
                     help="read, write or admin (default: read and write)")
    add.add_argument("--waiting", metavar="N", help="videos that may wait or run at once (default: no limit)")
    add.add_argument("--daily", metavar="N", help="videos in 24 hours (default: no limit)")
    add.add_argument("--storage", metavar="MB", help="megabytes of videos and files that are kept (default: no limit)")
    add.add_argument("--share", default="1", metavar="N",
                     help="turns that it gets for one of another's, while both wait (default 1)")
    listed = verbs.add_parser("list", help="show the keys, not their secrets", allow_abbrev=False)
    listed.add_argument("--json", action="store_true", help="as JSON")
    revoke = verbs.add_parser("revoke", help="end a key at once", allow_abbrev=False)
    revoke.add_argument("id", metavar="ID", help="key_..., as listed")
    for verb in (add, listed, revoke):
        add_storage(verb)


def run(arguments: argparse.Namespace) -> int:
    """Works on the database itself, whether a server runs or not."""
    from tenku.serving.access import add_key, all_keys, revoke_key
    from tenku.serving.db import Database

    db = Database(storage(arguments)[0])
    if arguments.verb == "add":
        limits = [None if text is None else whole(name, text, 1, 10**9)
                  for name, text in (("waiting", arguments.waiting), ("daily", arguments.daily),
                                     ("storage", arguments.storage))]
        _, secret = add_key(db, arguments.label, tenant=arguments.tenant,
                            scopes=arguments.scope or ("read", "write"), most_waiting=limits[0], most_daily=limits[1],
                            most_bytes=limits[2] and limits[2] * 10**6, share=whole("share", arguments.share, 1, 127))
        print(secret)
    elif arguments.verb == "revoke":
        revoke_key(db, arguments.id)
        print(f"{arguments.id} is revoked")
    elif arguments.json:
        print(json.dumps({"keys": all_keys(db)}, indent=2))
    else:
        show([_row(key) for key in all_keys(db)])
    return 0


def _row(key: Mapping[str, Any]) -> tuple[str, ...]:
    limits = [f"{key[limit]} {what}" for limit, what in (("most_waiting", "waiting"), ("most_daily", "a day"))
              if key[limit] is not None] + ([f"{key['share']} turns"] if key["share"] > 1 else [])
    most = "" if key["most_bytes"] is None else f" of {key['most_bytes'] / 1e6:.1f}"
    return (key["id"], time.strftime("%Y-%m-%d", time.localtime(key["created_at"])),
            "revoked" if key["revoked_at"] else ",".join(key["scopes"]), f"{key['kept'] / 1e6:.1f}{most} MB",
            ", ".join(limits) or "-", key["tenant"], key["name"])
