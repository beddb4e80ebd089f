"""`kaguan sim`：找卡、看一张、看它的状态变更、马上刷新。"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kaguan.words.zones import business_today
from tests.support.invocation import Invocation

ICCID = "89860012345678901238"
OLD = "89860012345678901246"
NEW = "89860012345678901261"
CARD = """
insert into tb_sim (iccid, carrier, luhn_valid, msisdn, plan, tags, lifecycle_state)
values (%s, 'onelink', true, '1064712345678', '30M', '{展会}', 'active') returning id
"""
PROFILE = "insert into tb_sim_profile (sim_id, iccid, carrier, since) values (%s, %s, 'control_center', now())"
USAGE = "insert into tb_sim_usage (iccid, day, carrier, data_bytes) values (%s, %s, 'onelink', 3145728)"
EVENT = "insert into tb_sim_event (iccid, old_state, new_state, source) values (%s, 'inventory', 'active', 'onelink')"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> Invocation:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return Invocation(monkeypatch, capsys)


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    """一张换过 profile 的卡。"""
    with psycopg.connect(database_url, autocommit=True) as connection:
        [(sim_id,)] = connection.execute(CARD, (ICCID,)).fetchall()
        connection.execute(PROFILE, (sim_id, OLD))
        connection.execute(USAGE, (ICCID, business_today()))
        for number in (OLD, ICCID):
            connection.execute(EVENT, (number,))
        yield connection


def answered(run: Invocation, *arguments: str) -> Any:
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.usefixtures("database")
def test_cards_are_found_shown_and_their_history_read(run: Invocation) -> None:
    assert [card["iccid"] for card in answered(run, "sim", "list", "--find", f"45678,{OLD}", "--tag", "展会")] == [
        ICCID
    ]
    assert answered(run, "sim", "list", "--state", "suspended") == []
    listed = run("sim", "list", "--find", "901238 99999")[1]
    assert ICCID in listed
    assert "没有对上的：99999" in listed
    card = answered(run, "sim", "show", ICCID)
    assert (card["plan"], card["month"]["data_bytes"], card["profiles"][0]["iccid"]) == ("30M", 3145728, OLD)
    shown = run("sim", "show", ICCID)[1]
    assert "3.0 MiB" in shown
    assert re.search(r"^校验位对 +[是否]$", shown, re.MULTILINE)
    assert "luhn_valid" not in shown
    assert OLD in shown
    assert [event["iccid"] for event in answered(run, "sim", "events", ICCID)] == [ICCID, OLD]
    assert "inventory" in run("sim", "events", ICCID)[1]


def test_a_card_is_refreshed_on_the_record(run: Invocation, database: psycopg.Connection) -> None:
    task_id = answered(run, "sim", "refresh", ICCID)["task_id"]
    [(kept, queue)] = database.execute("select id::text, queue from tb_task").fetchall()
    assert (kept, queue) == (task_id, "critical")
    assert database.execute("select action, target from tb_audit").fetchall() == [("sim.refresh", ICCID)]
    assert task_id in run("task", "list")[1]


def test_what_cannot_be_done_is_one_line(run: Invocation) -> None:
    for arguments, said in (
        (("show", "8986"), "卡不存在"),
        (("refresh", OLD), "卡不存在"),
        (("list", "--find", "12"), "q：应为号码"),
    ):
        code, out, err = run("sim", *arguments)
        assert (code, out) == (1, ""), arguments
        assert said in err
        assert err.count("\n") == 1


def test_all_cards_of_a_filter_are_written_as_csv(run: Invocation, database: psycopg.Connection) -> None:
    database.execute(
        "insert into tb_sim (iccid, carrier, luhn_valid)"
        " select '8986' || lpad(n::text, 15, '0'), 'control_center', true from generate_series(1, 600) as n"
    )
    code, out, _ = run("sim", "list", "--csv", "--limit", "1")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 602)
    assert lines[0].startswith("iccid,carrier,lifecycle_state")
    assert run("sim", "list", "--csv", "--find", OLD)[1].splitlines()[1].startswith(f"{ICCID},onelink,active")


def test_a_file_is_looked_at_and_only_a_run_registers_its_new_cards(
    run: Invocation, database: psycopg.Connection, tmp_path: Path
) -> None:
    """已有的不动，不合格的写进错误文件，改好了再导入。"""
    file, errors = tmp_path / "cards.csv", tmp_path / "wrong.csv"
    file.write_text(f"卡号;套餐\n{ICCID};30M\n{NEW};100M\n123;30M\n", "gb18030")
    asked = ("sim", "import", str(file), "--carrier", "onelink")
    code, out, _ = run(*asked, "--dry-run", "--errors", str(errors))
    assert (code, "会登记 1 张；已有的 1 张不动；不合格的 1 行" in out) == (0, True), out
    assert [line.split(",")[:3] for line in errors.read_text("utf-8-sig").splitlines()] == [
        ["卡号", "套餐", "行号"],
        ["123", "30M", "4"],
    ]
    assert database.execute("select count(*) from tb_sim").fetchone() == (1,)
    done = answered(run, *asked, "--run")
    assert (done["new"], done["existing"], done["invalid"]) == (1, 1, 1)
    assert [(one["line"], one["outcome"]) for one in done["items"]] == [(2, "existing"), (3, "new"), (4, "invalid")]
    assert database.execute("select plan from tb_sim where iccid = %s", (NEW,)).fetchone() == ("100M",)
    assert run("sim", "import", str(tmp_path / "none.csv"))[0] == 2
    assert run(*asked, "--run", "--dry-run")[0] == 2


def test_a_card_is_changed_after_a_dry_run_and_its_receipt_is_read(
    run: Invocation, database: psycopg.Connection
) -> None:
    """试运行什么也不做；已在那个状态的、不认得的卡各说缘由；问了就有一笔审计，回执照卡也照那一次找得到。"""
    cards = (ICCID, "89860012345678909999")
    dry = answered(run, "sim", "suspend", *cards, "--reason", "客户停用", "--dry-run")
    assert (dry["dry_run"], dry["accepted"], dry["refused"], [one["iccid"] for one in dry["refusals"]]) == (
        *(True, 1, 1),
        [cards[1]],
    )
    assert cards[1] in run("sim", "suspend", *cards, "--reason", "客户停用", "--dry-run")[1]
    assert database.execute("select count(*) from tb_task").fetchall() == [(0,)]
    done = answered(run, "sim", "suspend", *cards, "--reason", "客户停用", "--run")
    assert (done["dry_run"], done["accepted"], done["refused"]) == (False, 1, 1)
    assert database.execute("select action, target from tb_audit").fetchall() == [("sim.change", str(done["id"]))]
    change = answered(run, "sim", "change", str(done["id"]))
    assert change["receipts"][0]["iccid"] == ICCID
    assert ICCID in run("sim", "change", str(done["id"]))[1]
    assert ICCID in run("sim", "change", str(done["id"]), "--csv")[1]
    assert [one["id"] for one in answered(run, "sim", "changes", ICCID)] == [done["id"]]
    assert "suspend" in run("sim", "changes", ICCID)[1]
    assert "1" in run("sim", "plan", "100M", ICCID, "--reason", "换套餐", "--dry-run")[1]


@pytest.mark.usefixtures("database")
def test_a_change_that_cannot_be_meant_is_refused_in_words(run: Invocation) -> None:
    for arguments in (
        ("suspend", ICCID, "--reason", "r", "--run", "--dry-run"),
        ("suspend", ICCID, "--reason", " "),
        ("suspend", "--reason", "r"),
        ("suspend", ICCID, "--group", "g", "--reason", "r"),
        ("suspend", "no card", "--reason", "r"),
        ("suspend", "--group", "nobody", "--reason", "r"),
    ):
        code, out, err = run("sim", *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.strip(), arguments
