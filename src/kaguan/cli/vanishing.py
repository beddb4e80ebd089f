"""`kaguan task vanished`。"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from kaguan.cli.printing import AsJson, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.outbox.recover import vanished

app = group("vanished")

LOST = ("task_id", "type", "request_id", "delivery", "first_seen")


@app.command(name="vanished")
def list_vanished(
    after: Annotated[UUID | None, typer.Option(help="after")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="limit")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    rows = [asdict(one) for one in with_database(lambda connection: vanished.page(connection, limit, after)).rows]
    if as_json:
        print_json(rows)
    else:
        print_table("vanished", LOST, rows)
