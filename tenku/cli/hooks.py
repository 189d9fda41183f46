"""`tenku hooks`: tell other programs when a video is done."""

from __future__ import annotations

import argparse

from tenku.cli.serve import add_storage, storage
from tenku.cli.table import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """add, list, remove."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|list|remove")
    add = verbs.add_parser("add", help="call a URL when a video is completed or failed; prints the signing secret",
                           allow_abbrev=False)
    add.add_argument("url", metavar="URL", help="https://..., or private+http://... inside your own network")
    add.add_argument("--tenant", default="local", metavar="NAME", help="whose videos (default: local)")
    listed = verbs.add_parser("list", help="show them", allow_abbrev=False)
    remove = verbs.add_parser("remove", help="call it no more", allow_abbrev=False)
    remove.add_argument("id", metavar="ID", help="hook_..., as listed")
    for verb in (add, listed, remove):
        add_storage(verb)


def run(arguments: argparse.Namespace) -> int:
    """Works on the database itself, whether a server runs or not."""
    from tenku.serving.db import Database
    from tenku.serving.hooks import add_hook, all_hooks, remove_hook

    db = Database(storage(arguments)[0])
    if arguments.verb == "add":
        _, secret = add_hook(db, arguments.url, arguments.tenant)
        print(secret)
    elif arguments.verb == "remove":
        remove_hook(db, arguments.id)
        print(f"{arguments.id} is removed")
    else:
        show([(hook["id"], hook["tenant"], hook["url"]) for hook in all_hooks(db)])
    return 0
