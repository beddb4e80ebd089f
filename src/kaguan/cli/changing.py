"""`kaguan sim suspend`、`resume`、`activate`、`plan`：先看会改谁，问过再改；`change`、`changes` 看回执。"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.audit.actions import SIM_CHANGE
from kaguan.audit.command_line import actor, audited
from kaguan.carriers.build import change_limits
from kaguan.cli import desk
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.database.engine import driver_of
from kaguan.database.pool import at_once
from kaguan.product.exit_codes import ExitCode
from kaguan.sims import changes, receipts, service
from kaguan.sims.changes import CARDS_MAX, REASON_MAX, AcceptedChange, Asker, CardChange, Planned, Wanted
from kaguan.sims.iccid import digits_of
from kaguan.sims.store import SimFilter
from kaguan.sims.vocabulary import Change

app = group("sim")

REFUSED = ("iccid", "reason")
RECEIPTS = ("iccid", "status", "reason", "order_number", "settled_at")
CHANGES = ("id", "requested_at", "change", "plan", "status", "reason", "requested_by")

Cards = Annotated[list[str] | None, typer.Argument(metavar="ICCID", help="iccids")]
Group = Annotated[str | None, typer.Option(help="of_group")]
Why = Annotated[str, typer.Option("--reason", help="why")]
Run = Annotated[bool, typer.Option("--run", help="run")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="dry_run")]


@dataclass(frozen=True, slots=True)
class Named:
    """点名的：卡号，或一组。"""

    iccids: Sequence[str]
    group: str | None


def change_state(
    context: typer.Context,
    why: Why,
    iccids: Cards = None,
    *,
    group: Group = None,
    run: Run = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    named = Named(iccids or (), group)
    _change(Wanted(Change(str(context.info_name)), why, ()), named, run=run, dry_run=dry_run, as_json=as_json)


def change_plan(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="to_plan")],
    why: Why,
    iccids: Cards = None,
    *,
    group: Group = None,
    run: Run = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    wanted = Wanted(Change.PLAN, why, (), plan)
    _change(wanted, Named(iccids or (), group), run=run, dry_run=dry_run, as_json=as_json)


def _change(wanted: Wanted, named: Named, *, run: bool, dry_run: bool, as_json: bool) -> None:
    if run and dry_run:
        raise CommandError(say("run_or_dry_run"), ExitCode.USAGE)
    if not 1 <= len(wanted.reason.strip()) <= REASON_MAX:
        raise CommandError(say("reason_length", most=REASON_MAX), ExitCode.USAGE)
    if bool(named.iccids) == bool(named.group):
        raise CommandError(say("cards_or_group"), ExitCode.USAGE)
    planned = desk.with_entities(partial(_preview, wanted, named))
    if not run:
        _report(planned, as_json=as_json)
        if dry_run or as_json or not _agreed(planned):
            return
        planned = Planned(
            replace(planned.wanted, iccids=tuple(one.iccid for one in planned.changing)), planned.changing
        )
    done = desk.with_entities(partial(_accept, planned.wanted))
    if as_json:
        print_json({"dry_run": False, **asdict(done)})
    else:
        echo(say("changing", id=done.id, accepted=done.accepted, refused=done.refused))


def _agreed(planned: Planned) -> bool:
    """人在终端前，有会改的，也说改。"""
    if not planned.changing or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm(say("change_these", count=len(planned.changing)))


def _report(planned: Planned, *, as_json: bool) -> None:
    language = reader_language()
    refusals = [{"iccid": iccid, "code": why.code, "reason": why.text(language)} for iccid, why in planned.refused]
    counts = {"accepted": len(planned.changing), "refused": len(refusals)}
    if as_json:
        cards = [asdict(one.card) for one in planned.changing]
        print_json({"dry_run": True, **counts, "cards": cards, "refusals": refusals})
        return
    if refusals:
        print_table("refusal", REFUSED, refusals)
    if planned.wanted.limited:
        echo(say("cards_left_out", most=CARDS_MAX))
    echo(say("would_change", **counts))


async def _preview(wanted: Wanted, named: Named, connection: AsyncConnection) -> Planned:
    if named.group is None:
        read = [(text, digits_of(text)) for text in named.iccids]
        wrong = next((text for text, digits in read if digits is None), None)
        if wrong is not None:
            raise CommandError(say("no_iccid", text=wrong), ExitCode.USAGE)
        iccids, limited = tuple(dict.fromkeys(digits for _, digits in read if digits is not None)), False
    else:
        iccids, limited = await changes.chosen(connection, SimFilter(group=named.group), CARDS_MAX)
    if not 1 <= len(iccids) <= CARDS_MAX:
        raise CommandError(say("cards_count", count=len(iccids), most=CARDS_MAX), ExitCode.USAGE)
    chosen = replace(wanted, iccids=iccids, limited=limited)
    return await changes.preview(await driver_of(connection), chosen, change_limits(current_settings().carriers))


async def _accept(wanted: Wanted, connection: AsyncConnection) -> AcceptedChange:
    driver, limits = await driver_of(connection), change_limits(current_settings().carriers)
    done = await changes.accept(driver, wanted, Asker(actor(), None, {}), limits, at_once)
    facts = {"change": wanted.change, "accepted": done.accepted, "refused": done.refused}
    await audited(driver, SIM_CHANGE, str(done.id), **facts)
    return done


def show_change(
    change_id: Annotated[int, typer.Argument(metavar="ID", help="change_id")],
    *,
    as_csv: Annotated[bool, typer.Option("--csv", help="receipts_csv")] = False,
    as_json: AsJson = False,
) -> None:
    async def work(connection: AsyncConnection) -> tuple[changes.ChangeRow, list[changes.Receipt]]:
        return await changes.get(await driver_of(connection), change_id)

    language = reader_language()
    row, found = desk.with_entities(work)
    if as_csv:
        echo(receipts.receipt_file(row, found, language), "\r\n\t")
        return
    shown = [receipts.told(row, receipt, language) for receipt in found]
    if as_json:
        print_json({**asdict(row), "counts": changes.counts(found), "receipts": shown})
        return
    print_facts({name: value for name, value in asdict(row).items() if value is not None})
    print_table("receipt", RECEIPTS, shown)
    echo(say("receipt_counts", **changes.counts(found)))


def list_changes(
    iccid: Annotated[str, typer.Argument(metavar="ICCID", help="iccid")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="limit")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    async def work(connection: AsyncConnection) -> list[CardChange]:
        iccids = await service.numbers_of(connection, iccid)
        return await changes.of_card(await driver_of(connection), iccids, limit)

    rows = [_line(one) for one in desk.with_entities(work)]
    if as_json:
        print_json([{**asdict(one["row"]), "receipt": one["receipt"]} for one in rows])
    else:
        lines = [{**asdict(one["row"]), **one["receipt"], "id": one["row"].id} for one in rows]
        print_table("change", CHANGES, lines)


def _line(one: CardChange) -> dict[str, Any]:
    return {"row": one.row, "receipt": receipts.told(one.row, one.receipt, reader_language())}


for state_change in (Change.SUSPEND, Change.RESUME, Change.ACTIVATE):
    app.command(name=state_change.value)(change_state)
app.command(name=Change.PLAN.value)(change_plan)
app.command(name="change")(show_change)
app.command(name="changes")(list_changes)
