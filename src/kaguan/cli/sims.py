"""`kaguan sim`。"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from kaguan.cli import desk, imports
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.operating import Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table
from kaguan.cli.tree import group
from kaguan.cli.wording import catalogue, joined, reader_language, say
from kaguan.product.exit_codes import ExitCode
from kaguan.sims.service import Card
from kaguan.sims.vocabulary import Carrier, LifecycleState
from kaguan.words.units import MIB

app = group("sim")

COLUMNS = ("iccid", "carrier", "lifecycle_state", "msisdn", "plan", "group", "customer", "status_synced_at")
EVENTS = ("at", "iccid", "old_state", "new_state", "carrier_status", "source", "task_id")
PROFILES = ("iccid", "carrier", "msisdn", "imsi", "since", "until")
FACTS = (
    *("iccid", "carrier", "eid", "msisdn", "imsi", "imei", "plan", "group", "tags", "customer", "remark", "luhn_valid"),
    *("lifecycle_state", "suspend_reason", "session_state", "carrier_status", "status_source", "status_changed_at"),
    *("status_synced_at", "info_synced_at", "activated_on", "profile_since", "version", "created_at", "updated_at"),
)

Number = Annotated[str, typer.Argument(metavar="ICCID", help="iccid")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="limit")]


@app.command(name="list")
def list_sims(  # noqa: PLR0913, PLR0917 一个参数一个选项
    find_text: Annotated[str | None, typer.Option("--find", help="find")] = None,
    carrier: Annotated[Carrier | None, typer.Option(help="carrier")] = None,
    state: Annotated[LifecycleState | None, typer.Option(help="status")] = None,
    plan: Annotated[str | None, typer.Option(help="plan")] = None,
    group: Annotated[str | None, typer.Option(help="group")] = None,
    tag: Annotated[str | None, typer.Option(help="tag")] = None,
    customer: Annotated[str | None, typer.Option(help="customer")] = None,
    limit: Limit = 20,
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="csv")] = False,
    as_json: AsJson = False,
) -> None:
    wanted = desk.Wanted(
        text=find_text, carrier=carrier, state=state, plan=plan, group=group, tag=tag, customer=customer
    )
    if as_csv:
        desk.write_cards(wanted, sys.stdout)
        return
    listed = desk.list_cards(wanted, limit)
    if as_json:
        print_json(listed.cards)
        return
    print_table("sim", COLUMNS, [asdict(row) for row in listed.cards])
    if listed.total > len(listed.cards):
        echo(say("about", total=listed.total, shown=len(listed.cards)))
    if listed.missing:
        echo(say("unmatched", texts=joined(listed.missing)))


@app.command()
def show(iccid: Number, *, as_json: AsJson = False) -> None:
    card = desk.card(iccid)
    if as_json:
        print_json(_public(card))
        return
    texts, given = catalogue(reader_language())["table"]["card"], asdict(card.sim)
    facts = {texts[name]: given[name] for name in FACTS if given[name] not in (None, [])}
    used, sent = card.month.data_bytes / MIB, card.month.sms_count
    print_facts(facts | {say("month"): say("usage_of_month", used=used, sent=sent, start=card.month.start)})
    echo(say("zone", zone=current_settings().zone.key))
    if card.profiles:
        print_table("profile", PROFILES, [asdict(profile) for profile in card.profiles])


@app.command()
def events(iccid: Number, limit: Limit = 20, *, as_json: AsJson = False) -> None:
    rows = [asdict(row) for row in desk.events_of(iccid, limit)]
    if as_json:
        print_json(rows)
    else:
        print_table("event", EVENTS, rows)


@app.command(name="refresh")
def refresh_sim(iccid: Number, seconds: Timeout = 3_600.0, *, wait: Wait = False, as_json: AsJson = False) -> None:
    task_id = desk.refresh_card(iccid)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id})
    else:
        echo(say("accepted", task=task_id))


@app.command(name="import")
def import_sims(
    file: Annotated[Path, typer.Argument(help="csv_file")],
    carrier: Annotated[Carrier | None, typer.Option(help="csv_carrier")] = None,
    errors: Annotated[Path | None, typer.Option(help="csv_errors")] = None,
    *,
    run: Annotated[bool, typer.Option("--run", help="run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="dry_run")] = False,
    as_json: AsJson = False,
) -> None:
    if run and dry_run:
        raise CommandError(say("run_or_dry_run"), ExitCode.USAGE)
    found = imports.import_file(file, carrier, errors)
    if not run:
        imports.report(found, "would_import", as_json=as_json)
    if run or (not dry_run and not as_json and imports.ask(found)):
        imports.report(imports.register(found), "imported", as_json=as_json)


def _public(card: Card) -> dict[str, Any]:
    """与 API 同名。"""
    month = {
        "start_date": card.month.start,
        "end_date": card.month.today,
        "data_bytes": card.month.data_bytes,
        "sms_count": card.month.sms_count,
        "items": [
            {"day": day, "data_bytes": data, "sms_count": count} for day, (data, count) in card.month.days.items()
        ],
    }
    return asdict(card.sim) | {"month": month, "profiles": [asdict(profile) for profile in card.profiles]}
