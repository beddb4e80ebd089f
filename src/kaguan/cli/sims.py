"""`kaguan sim`。"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaguan.cli.operating import Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table
from kaguan.sims.vocabulary import Carrier, LifecycleState
from kaguan.words.units import MIB

if TYPE_CHECKING:
    from kaguan.sims.service import Card

app = typer.Typer(help="卡。", no_args_is_help=True)

COLUMNS = {
    "iccid": "ICCID",
    "carrier": "运营商",
    "lifecycle_state": "状态",
    "msisdn": "号码",
    "plan": "套餐",
    "group": "分组",
    "customer": "客户",
    "status_synced_at": "状态看于",
}
EVENTS = {
    "at": "时间",
    "iccid": "ICCID",
    "old_state": "从",
    "new_state": "到",
    "carrier_status": "运营商原文",
    "source": "谁说的",
    "task_id": "任务",
}
PROFILES = {
    "iccid": "换下的 ICCID",
    "carrier": "运营商",
    "msisdn": "号码",
    "imsi": "IMSI",
    "since": "自",
    "until": "至",
}

Number = Annotated[str, typer.Argument(metavar="ICCID", help="卡号")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="至多几个")]


@app.command(name="list")
def list_sims(  # noqa: PLR0913, PLR0917 一个参数一个选项
    find_text: Annotated[
        str | None, typer.Option("--find", help="任一种号码的开头或结尾，至少 4 位；几个用空白或逗号隔开")
    ] = None,
    carrier: Annotated[Carrier | None, typer.Option(help="运营商")] = None,
    state: Annotated[LifecycleState | None, typer.Option(help="状态")] = None,
    plan: Annotated[str | None, typer.Option(help="套餐")] = None,
    group: Annotated[str | None, typer.Option(help="分组")] = None,
    tag: Annotated[str | None, typer.Option(help="标签")] = None,
    customer: Annotated[str | None, typer.Option(help="客户")] = None,
    limit: Limit = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """卡，新登记的在前。"""
    from kaguan.cli import desk  # noqa: PLC0415 见其模块说明

    wanted = desk.Wanted(
        text=find_text, carrier=carrier, state=state, plan=plan, group=group, tag=tag, customer=customer
    )
    listed = desk.list_cards(wanted, limit)
    if as_json:
        print_json(listed.cards)
        return
    print_table(COLUMNS, [asdict(row) for row in listed.cards], "没有符合条件的卡")
    if listed.total > len(listed.cards):
        echo(f"共约 {listed.total:,} 张，列了 {len(listed.cards)} 张")
    if listed.missing:
        echo(f"没有对上的：{'、'.join(listed.missing)}")


@app.command()
def show(iccid: Number, *, as_json: AsJson = False) -> None:
    """一张卡：档案、状态、本月用量、换下的 profile。"""
    from kaguan.cli import desk  # noqa: PLC0415 见其模块说明

    card = desk.card(iccid)
    if as_json:
        print_json(_public(card))
        return
    facts = {name: value for name, value in asdict(card.sim).items() if value not in (None, [])}
    month = f"{card.month.data_bytes / MIB:,.1f} MiB，{card.month.sms_count} 条短信（{card.month.start} 起）"
    print_facts(facts | {"本月": month})
    if card.profiles:
        print_table(PROFILES, [asdict(profile) for profile in card.profiles], "")


@app.command()
def events(iccid: Number, limit: Limit = 20, *, as_json: AsJson = False) -> None:
    """一张卡的状态变更，新的在前。"""
    from kaguan.cli import desk  # noqa: PLC0415 见其模块说明

    rows = [asdict(row) for row in desk.events_of(iccid, limit)]
    if as_json:
        print_json(rows)
    else:
        print_table(EVENTS, rows, "没有状态变更")


@app.command(name="refresh")
def refresh_sim(iccid: Number, seconds: Timeout = 3_600.0, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """马上去问运营商它的状态，不管多久之前看过。"""
    from kaguan.cli import desk  # noqa: PLC0415 见其模块说明

    task_id = desk.refresh_card(iccid)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id})
    else:
        echo(f"任务 {task_id} 已受理；`kaguan task watch {task_id}` 看它做完")


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
