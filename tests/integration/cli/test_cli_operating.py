"""命令行操作任务：重放先看后做、等到有结局、终端里的进度条。"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import ValidationError

from api.resources.task_queries import ReplayRequest
from kaguan.cli.outbox import PAGE
from kaguan.cli.progress import describe
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.operate.replay import REPLAY_RATE_LIMIT
from kaguan.outbox.operate.watching import Watched
from kaguan.outbox.vocabulary import id_floor
from tests.support import warm
from tests.support.eventually import PATIENCE
from tests.support.in_hand import HOLD
from tests.support.invocation import Invocation

FAIL = """
update tb_task set status = 'failed', attempt = 6, started_at = now(), finished_at = now(),
    last_error = '{"reason": "对方不收"}'
"""
BOTH = ("--run", "--dry-run")
ABSENT = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> Invocation:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return Invocation(monkeypatch, capsys)


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def failed(database: psycopg.Connection, database_url: str) -> list[str]:
    """三个失败的邮件任务，按受理的次序。"""

    async def submit() -> list[str]:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            payload = EmailPayload(to=("a@example.com",), subject="x", body="y")
            submissions = [Submission(EMAIL_SEND, payload) for _ in range(3)]
            outcomes = await accept_many(connection, submissions, max_attempts=6)
            return [str(outcome.task_id) for outcome in outcomes if not isinstance(outcome, Exception)]

    ids = asyncio.run(submit())
    database.execute("delete from tb_outbox")
    database.execute(FAIL)
    return ids


def audit(database: psycopg.Connection) -> list[tuple[str, str | None, str]]:
    rows = database.execute("select action, target, detail->>'via', actor from tb_audit order by id").fetchall()
    assert all(actor.startswith("cli:") for *_, actor in rows)
    return [(action, target, via) for action, target, via, _ in rows]


def statuses(database: psycopg.Connection) -> list[str]:
    return [row[0] for row in database.execute("select status from vw_task order by id").fetchall()]


def test_a_replay_shows_whom_it_would_choose_and_changes_nothing(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    code, out, _ = run("task", "replay", "--json")
    shown = json.loads(out)
    assert (code, shown["dry_run"]) == (0, True)
    assert [row["task_id"] for row in shown["matched"]] == failed
    code, out, _ = run("task", "replay")
    assert code == 0
    assert all(text in out for text in (*failed, "对方不收", "会重放 3 个", "--run"))
    code, out, _ = run("task", "replay", "--limit", "2")
    assert "会重放 2 个（符合条件的不止这些" in out
    limited = json.loads(run("task", "replay", "--limit", "2", "--json")[1])
    assert (limited["total"], limited["limited"], len(limited["matched"])) == (2, True, 2)
    assert statuses(database) == ["failed"] * 3


def test_a_replay_takes_only_what_the_filter_names(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    for options in (
        ("--type", "data:sync"),
        ("--status", "uncertain"),
        ("--until", "2020-01-01"),
        ("--queue", "low"),
        ("--error", "没有的"),
    ):
        assert json.loads(run("task", "replay", "--run", "--json", *options)[1])["replayed"] == 0
    code, out, _ = run("task", "replay", "--run", "--limit", "2", "--since", "2020-01-01", "--rate", "1", "--json")
    assert (code, json.loads(out)["replayed"]) == (0, 2)
    assert statuses(database) == ["pending", "pending", "failed"]
    gap = database.execute("select max(available_at) - min(available_at) from tb_outbox").fetchone()
    assert gap is not None
    assert gap[0] >= timedelta(seconds=1)
    assert run("task", "replay", "--run")[1] == "已重放 1 个任务\n"
    actors = database.execute("select actor from tb_task_event where kind = 'retried'").fetchall()
    assert len(actors) == len(failed)
    assert all(actor.startswith("cli:") for (actor,) in actors)


def test_a_replay_that_cannot_be_meant_is_refused_and_the_rate_has_the_same_limit_as_over_http(run: Invocation) -> None:
    for options, said in (
        (("--status", "succeeded"), "failed"),
        (BOTH, "--dry-run"),
        (("--rate", str(REPLAY_RATE_LIMIT + 1)), str(REPLAY_RATE_LIMIT)),
    ):
        code, out, err = run("task", "replay", *options)
        assert (code, out) == (2, ""), options
        assert said in err
    assert ReplayRequest(rate=REPLAY_RATE_LIMIT).rate == REPLAY_RATE_LIMIT
    with pytest.raises(ValidationError):
        ReplayRequest(rate=REPLAY_RATE_LIMIT + 1)


def test_what_vanished_is_listed_by_task_and_request(run: Invocation, database: psycopg.Connection) -> None:
    assert run("task", "vanished") == (0, "没有不见了的任务\n", "")
    first, second = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
    database.execute(
        "insert into tb_vanished (task_id, type, request_id, delivery)"
        " values (%s, 'email:send', 'order-17', 1), (%s, 'data:sync', null, 2)",
        (first, second),
    )
    listed = json.loads(run("task", "vanished", "--json")[1])
    assert [(one["task_id"], one["request_id"]) for one in listed] == [(second, None), (first, "order-17")]
    assert "order-17" in run("task", "vanished", "--after", second)[1]
    assert json.loads(run("task", "vanished", "--after", first, "--json")[1]) == []


def test_watching_ends_with_the_outcome_in_words_and_exit_code(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    code, out, err = run("task", "watch", failed[0])
    assert (code, out, err) == (1, f"任务 {failed[0]} 现在是 failed\n", "")
    database.execute("update tb_task set status = 'succeeded', result = '{}'")
    code, out, _ = run("task", "watch", *failed, "--json")
    assert code == 0
    assert {row["task_id"]: row["status"] for row in json.loads(out)} == dict.fromkeys(failed, "succeeded")


def test_watching_nothing_or_too_long_is_one_line(run: Invocation, failed: list[str]) -> None:
    code, out, err = run("task", "watch", ABSENT)
    assert (code, out, err) == (1, "", f"没有任务 {ABSENT}\n")
    code, out, err = run("task", "retry", failed[0], "--wait", "--timeout", "1")
    assert (code, out) == (1, "")
    assert err.startswith("1 秒之后还没有结局")
    assert len(err.splitlines()) == 1


def finish_soon(database_url: str, status: str) -> threading.Thread:
    """另一边有人把任务做完。"""

    def finish() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            query = "update tb_task set status = %s, finished_at = now(), attempt = 1 where status = 'pending'"
            while connection.execute(query, (status,)).rowcount == 0:
                pass

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    return thread


def test_retry_waits_until_the_task_ends(run: Invocation, failed: list[str], database_url: str) -> None:
    helper = finish_soon(database_url, "succeeded")
    code, out, _ = run("task", "retry", failed[0], "--wait", "--timeout", "30")
    helper.join()
    assert (code, out) == (0, f"任务 {failed[0]} 现在是 succeeded\n")


def test_replay_waits_for_every_task_it_chose(run: Invocation, failed: list[str], database_url: str) -> None:
    helper = finish_soon(database_url, "succeeded")
    code, out, _ = run("task", "replay", "--run", "--wait", "--timeout", "30", "--json")
    helper.join()
    assert code == 0
    assert {row["task_id"] for row in json.loads(out)} == set(failed)


def test_replay_waits_only_for_the_tasks_it_replayed(
    run: Invocation, failed: list[str], database: psycopg.Connection, database_url: str
) -> None:
    with psycopg.connect(database_url) as other:
        other.execute("select 1 from tb_task where id = %s for no key update", (failed[1],))
        helper = finish_soon(database_url, "succeeded")
        code, out, _ = run("task", "replay", "--run", "--wait", "--timeout", "30", "--json")
        helper.join()
    assert code == 0
    assert {row["task_id"] for row in json.loads(out)} == {failed[0], failed[2]}
    assert statuses(database) == ["succeeded", "failed", "succeeded"]


@pytest.mark.measured
async def test_a_terminal_sees_a_progress_bar_and_a_pipe_sees_none(
    environ: dict[str, str], failed: list[str], database: psycopg.Connection
) -> None:
    progress = json.dumps({"done": 40, "total": None, "parts_done": 3, "parts_total": 8})
    database.execute("update tb_task set type = 'data:sync', progress = %s where id = %s", (progress, failed[0]))
    arguments = ("task", "watch", failed[0])
    env = {**os.environ, **environ, "TERM": "xterm", "COLUMNS": "100"}
    terminal, other = pty.openpty()
    try:
        process = await warm.run_kaguan(*arguments, environment=env, stdout=PIPE, stderr=other)
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        read_until(terminal, "data:sync", "失败", "40", "3/8")
    finally:
        os.close(terminal)
        os.close(other)
    assert out.decode() == f"任务 {failed[0]} 现在是 failed\n"
    piped = await warm.run_kaguan(*arguments, environment=env, stdout=DEVNULL, stderr=PIPE)
    _, err = await asyncio.wait_for(piped.communicate(), PATIENCE)
    assert err == b""


@pytest.mark.measured
def test_on_a_terminal_what_was_shown_is_asked_about_and_only_that_runs(
    environ: dict[str, str], failed: list[str], database: psycopg.Connection
) -> None:
    """问的时候又有失败的、有的已经做成：答了是，也只重放看到的；答了不，什么也不动。"""
    command, descriptor, asking = warm.kaguan()
    program = (*command, "task", "replay", "--limit", "2")
    env = {**os.environ, **environ, **asking, "TERM": "xterm", "COLUMNS": "200"}
    for agreed in (False, True):
        terminal, other = pty.openpty()
        try:
            with subprocess.Popen(
                program, env=env, pass_fds=[descriptor], stdin=other, stdout=other, stderr=other
            ) as process:
                drawn = read_until(terminal, "重放这 2 个？")
                assert "符合条件的不止这些：有 3 个" in drawn
                if agreed:
                    database.execute("update tb_task set status = 'succeeded' where id = %s", (failed[0],))
                os.write(terminal, b"y\n" if agreed else b"n\n")
                if agreed:
                    read_until(terminal, "已重放 1 个任务；另有 1 个没有重放")
                assert process.wait(PATIENCE) == 0
        finally:
            os.close(terminal)
            os.close(other)
        assert statuses(database) == (["succeeded", "pending", "failed"] if agreed else ["failed"] * 3)
        assert audit(database) == ([("task.replay", None, "cli")] if agreed else [])


def read_until(terminal: int, *texts: str) -> str:
    """读到 ``texts`` 都画出来了；一次读到的也许只是前一半。"""
    drawn = b""
    while any(text not in drawn.decode("utf-8", "ignore") for text in texts):
        drawn += os.read(terminal, 65_536)
    return drawn.decode("utf-8", "ignore")


def test_a_replay_by_the_whole_reason_leaves_its_neighbours(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    database.execute("""update tb_task set last_error = '{"reason": "对方不收件"}' where id = %s""", (failed[1],))
    database.execute("update tb_task set last_error = '{}' where id = %s", (failed[2],))
    assert json.loads(run("task", "replay", "--error", "对方不收", "--json")[1])["total"] == 2
    assert json.loads(run("task", "replay", "--reason", "", "--json")[1])["matched"][0]["task_id"] == failed[2]
    assert run("task", "replay", "--reason", "对方不收", "--yes")[1] == "已重放 1 个任务\n"
    assert statuses(database) == ["pending", "failed", "failed"]


def test_times_on_the_command_line_are_read_and_written_in_the_configured_zone(
    run: Invocation, failed: list[str], database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGUAN_TIME_ZONE", "America/St_Johns")
    accepted = datetime(2026, 2, 3, 5, 6, 7, tzinfo=UTC)
    database.execute(
        "update tb_task set id = %s, created_at = %s, finished_at = %s where id = %s",
        (id_floor(accepted), accepted, accepted, failed[0]),
    )
    _, out, _ = run("task", "list", "--status", "failed")
    assert "2026-02-03 01:36:07 -03:30" in out
    assert out.endswith("时间为 America/St_Johns\n")
    window = ("--since", "2026-02-03T01:36", "--until", "2026-02-03 01:37")
    assert json.loads(run("task", "replay", "--json", *window)[1])["total"] == 1
    _, out, _ = run("task", "show", str(id_floor(accepted)))
    assert "时间线（America/St_Johns）" in out
    assert "2026-02-03 01:36:07.000 -03:30" in out
    code, _, err = run("task", "replay", "--since", "2026-03-08T02:30")
    assert (code, "没有这个时刻" in err) == (2, True)


def test_an_ordering_key_its_head_and_those_behind_are_shown(run: Invocation, database_url: str) -> None:
    async def submit() -> list[str]:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            payload = EmailPayload(to=("a@example.com",), subject="x", body="y")
            keyed = [Submission(EMAIL_SEND, payload, ordering_key="order:42") for _ in range(3)]
            outcomes = await accept_many(connection, [*keyed, Submission(EMAIL_SEND, payload)], 6)
            return [str(outcome.task_id) for outcome in outcomes if not isinstance(outcome, Exception)]

    head, second, third, _ = asyncio.run(submit())
    listed = json.loads(run("task", "list", "--ordering-key", "order:42", "--json")[1])
    assert [task["task_id"] for task in listed] == [third, second, head]
    assert run("task", "list")[1].count("order:42") == 3
    shown = json.loads(run("task", "show", second, "--json")[1])
    assert (shown["ordering_key"], shown["position"], shown["blocked_by"]["task_id"]) == ("order:42", 2, head)
    assert shown["behind"] == [third]
    assert head in run("task", "show", third)[1]


def test_more_than_one_statement_can_do_is_replayed_in_parts_at_one_rate(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    database.execute(
        """
        insert into tb_task (id, type, queue, principal, payload, status, attempt, max_attempts, finished_at)
        select gen_random_uuid(), type, queue, principal, payload, status, attempt, max_attempts, finished_at
        from vw_task cross join generate_series(1, 2200) where id = %s
        """,
        (failed[0],),
    )
    shown = json.loads(run("task", "replay", "--limit", "3000", "--json")[1])
    assert (shown["total"], shown["limited"], shown["matching"], shown["preview"]) == (2203, False, 2203, None)
    done = json.loads(run("task", "replay", "--limit", "2203", "--rate", "100", "--run", "--json")[1])
    assert (done["replayed"], done["skipped"]) == (2203, 0)
    assert len(audit(database)) == 3
    [(spread, steps)] = database.execute(
        "select extract(epoch from max(available_at) - min(available_at)), count(distinct available_at) from tb_outbox"
    ).fetchall()
    assert spread > 22.0  # 2202 个间隔，每个十毫秒；分的批不从头错开
    assert steps == 2203


def task(status: str, progress: dict[str, Any] | None = None) -> Watched:
    return Watched(UUID(ABSENT), "data:sync", status, 1, 6, progress)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([task("queued")], ("data:sync 排队", 0, None, "0")),
        ([task("running", {"done": 5, "total": 20})], ("data:sync 运行中", 5, 20, "5/20")),
        (
            [task("running", {"done": 900, "total": None, "parts_done": 1, "parts_total": 4})],
            ("data:sync 运行中", 1, 4, "900 条，1/4 份"),
        ),
        ([task("succeeded"), task("running")], ("任务", 1, 2, "1/2")),
        ([task("succeeded"), task("failed"), task("uncertain")], ("任务", 3, 3, "3/3，2 个没做成")),
    ],
)
def test_the_bar_says_how_far_and_what(tasks: list[Watched], expected: tuple[str, int, int | None, str]) -> None:
    assert describe(tasks) == expected


def test_a_redrive_of_many_pages_leaves_a_line_for_each_as_it_is_committed(
    run: Invocation, database: psycopg.Connection
) -> None:
    database.execute(
        "with handed as (insert into tb_task (id, type, queue, principal, payload, max_attempts) "
        "select gen_random_uuid(), 'email:send', 'default', 'p', '{}', 6 from generate_series(1, %s) returning id) "
        "insert into tb_work (task_id, delivery, priority) select id, 1, 1 from handed",
        (PAGE + 1,),
    )
    assert run("outbox", "redrive")[0] == 0
    counts = database.execute("select (detail->>'count')::int from tb_audit order by id").fetchall()
    assert counts == [(PAGE,), (1,)]


def test_every_deed_on_the_command_line_leaves_a_line_in_the_audit(
    run: Invocation, failed: list[str], database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly = {"name": "hourly", "cron": "5 * * * *", "type": "sim:status_sync", "payload": {"iccids": [ABSENT]}}
    monkeypatch.setenv("KAGUAN_SCHEDULES", json.dumps([hourly]))
    for command in (
        ("task", "retry", failed[0]),
        ("task", "cancel", failed[0]),
        ("task", "replay"),
        ("task", "replay", "--run"),
        ("schedule", "disable", "hourly"),
        ("schedule", "enable", "hourly"),
        ("outbox", "redrive"),
        ("token", "create", "--name", "partner", "--scopes", "tasks:read"),
        ("token", "revoke", "partner"),
    ):
        assert run(*command)[0] == 0, command
    assert run("task", "cancel", ABSENT)[0] == 1  # 没做成的不留
    assert run("token", "revoke", "stranger")[0] == 1
    assert audit(database) == [
        ("task.retry", failed[0], "cli"),
        ("task.cancel", failed[0], "cli"),
        ("task.replay", None, "cli"),
        ("schedule.disable", "hourly", "cli"),
        ("schedule.enable", "hourly", "cli"),
        ("outbox.redrive", None, "cli"),
        ("token.create", "partner", "cli"),
        ("token.revoke", "partner", "cli"),
    ]


def test_what_became_of_an_uncertain_task_is_told_with_how_it_is_known(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    first, second, _ = failed
    database.execute(
        "update tb_task set status = 'uncertain', finished_at = null where id in (%s, %s)", (first, second)
    )
    assert run("task", "resolve", first, "perhaps", "--note", "x")[0] == 2
    assert run("task", "resolve", first, "happened", "--note", " ")[0] == 2
    code, out, _ = run("task", "resolve", first, "happened", "--note", "ticket 7", "--json")
    assert (code, json.loads(out)) == (0, {"task_id": first, "status": "succeeded"})
    assert run("task", "resolve", second, "not_happened", "--note", "no such call")[0] == 0
    assert run("task", "resolve", second, "happened", "--note", "again")[0] == 1
    assert audit(database) == [("task.resolve", first, "cli"), ("task.resolve", second, "cli")]


def test_tasks_are_dealt_with_by_the_same_options_that_list_them(
    run: Invocation, failed: list[str], database: psycopg.Connection
) -> None:
    first, second, _ = failed
    database.execute('update tb_task set last_error = \'{"reason": "no route"}\' where id = %s', [first])
    database.execute("update tb_task set status = 'uncertain', finished_at = null where id = %s", [second])
    listed = run("task", "list", "--status", "failed", "--status", "uncertain", "--since", "2h", "--json")
    assert [one["task_id"] for one in json.loads(listed[1])] == failed[::-1]
    assert json.loads(run("task", "list", "--error", "no route", "--json")[1])[0]["task_id"] == first
    assert json.loads(run("task", "list", "--recipient", "nobody@example.com", "--json")[1]) == []
    mails = ["--type", "email:send"]
    for wrong in ([], ["--status", "pending"], [*mails, "--status", "pending"], ["--since", "soon"], [*mails, *BOTH]):
        assert run("task", "discard", *wrong)[0] == 2, wrong
    shown = json.loads(run("task", "discard", "--error", "no route", "--dry-run", "--json")[1])
    assert (shown["total"], shown["counts"], shown["matched"][0]["task_id"]) == (1, {"failed": 1}, first)
    assert "--run" in run("task", "retry", "--type", "email:send")[1]
    assert statuses(database) == ["failed", "uncertain", "failed"]
    done = json.loads(run("task", "discard", "--error", "no route", "--run", "--json")[1])
    assert done == {"dry_run": False, "done": 1, "asked": 0, "skipped": 0}
    both = ("--status", "failed", "--status", "uncertain")
    assert run("task", "retry", "--type", "email:send", *both, "--run")[0] == 0
    assert statuses(database) == ["cancelled", "pending", "pending"]
    assert json.loads(run("task", "cancel", "--caller", "system", "--until", "1s", "--run", "--json")[1])["done"] <= 2
    assert json.loads(run("task", "cancel", "--caller", "system", "--run", "--json")[1])["skipped"] == 0
    assert statuses(database) == ["cancelled"] * 3
    assert {entry[0] for entry in audit(database)} == {"task.discard", "task.retry", "task.cancel"}


def test_what_must_not_start_is_paused_and_resumed(run: Invocation, database: psycopg.Connection) -> None:
    for wrong in (["email:sent", "--for", "30m"], ["email:send", "--for", "soon"], ["email:send", "--for", "31d"]):
        assert run("pause", "type", *wrong, "--reason", "r")[0] == 2
    assert run("pause", "type", "email:send", "--for", "30m", "--reason", " ")[0] == 2
    code, out, _ = run("pause", "type", "email:send", "--for", "1h30m", "--reason", "relay host moves", "--json")
    made = json.loads(out)
    assert (code, made["scope"], made["name"], made["reason"]) == (0, "type", "email:send", "relay host moves")
    for scope, name in (("queue", "low"), ("carrier", "onelink"), ("caller", "ann"), ("key", "card:7")):
        assert run("pause", scope, name, "--for", "90s", "--reason", "r")[0] == 0
    listed = json.loads(run("pause", "list", "--json")[1])
    assert [one["scope"] for one in listed] == ["type", "queue", "carrier", "caller", "key"]
    assert "relay host moves" in run("pause", "list")[1]
    assert "email:send" in run("resume", made["id"])[1]
    assert run("resume", made["id"])[0] == 1
    assert [entry[0] for entry in audit(database)] == ["pause.create"] * 5 + ["pause.resume"]


def test_limits_are_set_listed_and_cleared(run: Invocation, database: psycopg.Connection) -> None:
    lasting = ("--for", "30m", "--reason", "carrier moves")
    for wrong in (
        ("type", "email:sent", "2"),
        ("type", "email:send", "0"),
        ("type", "email:send", "101"),
        ("carrier", "unicom", "5"),
        ("carrier", "onelink"),
    ):
        assert run("limit", *wrong, *lasting)[0] == 2, wrong
    code, out, _ = run("limit", "type", "email:send", "2", *lasting, "--json")
    made = json.loads(out)
    assert (code, made["scope"], made["name"], made["at_once"]) == (0, "type", "email:send", 2)
    calls = ("carrier", "onelink", "5", "--at-once", "1")
    assert "kaguan limit clear carrier onelink" in run("limit", *calls, *lasting)[1]
    rows = json.loads(run("limit", "list", "--json")[1])
    assert [(one["at_once"], one["per_second"], one["configured"]) for one in rows] == [
        (2, None, {"at_once": None, "per_second": None}),
        (1, 5, {"at_once": 4, "per_second": 50}),
    ]
    assert "carrier moves" in run("limit", "list")[1]
    assert "email:send" in run("limit", "clear", "type", "email:send")[1]
    assert run("limit", "clear", "type", "email:send")[0] == 1
    assert [entry[0] for entry in audit(database)] == ["limit.set"] * 2 + ["limit.clear"]


def test_workers_are_listed_and_one_is_drained(
    run: Invocation, database: psycopg.Connection, failed: list[str]
) -> None:
    assert "worker" in run("worker", "list")[1]
    database.execute(HOLD, ("w-1", "1 hour", failed[:1]))
    [row] = json.loads(run("worker", "list", "--json")[1])
    assert (row["name"], row["held"], row["drain"]) == ("w-1", 1, None)
    code, _, err = run("worker", "drain", "w-2", "--reason", "leaks memory")
    assert (code, "w-1" in err) == (1, True)
    assert run("worker", "drain", "w-1", "--reason", " ")[0] != 0
    assert run("worker", "drain", "w-1")[0] == 2
    for _ in range(2):
        code, out, _ = run("worker", "drain", "w-1", "--reason", "leaks memory")
        assert (code, "leaks memory" in out) == (0, True)
    assert "leaks memory" in run("worker", "list")[1]
    assert audit(database) == [("worker.drain", "w-1", "cli")] * 2


def test_a_waiting_task_is_changed(run: Invocation, database: psycopg.Connection) -> None:
    task = '[{"type": "email:send", "payload": {"v": 1}, "max_attempts": 1}]'
    [(task_id,)] = database.execute("select task_id from outbox_accept(%s)", (task,)).fetchall()
    change = ("task", "change", str(task_id), "--reason", "customer waits")
    for wrong in ((), ("--at", "soon"), ("--at", "2h", "--now"), ("--priority", "urgent")):
        assert run(*change, *wrong)[0] == 2, wrong
    assert run(*change, "--priority", "critical", "--at", "2h", "--json")[0] == 0
    assert "pending" in run(*change, "--now")[1]
    [row] = database.execute("select priority, available_at <= clock_timestamp() from tb_outbox").fetchall()
    assert row == (0, True)
    assert run("task", "cancel", str(task_id))[0] == 0
    assert run(*change, "--now")[0] == 1
    assert [entry[0] for entry in audit(database)] == ["task.change", "task.change", "task.cancel"]


def test_a_migration_leaves_a_line_in_the_audit_where_there_is_one(
    run: Invocation, database: psycopg.Connection
) -> None:
    head = json.loads(run("migrate", "status", "--json")[1])["current"]
    for command in (("migrate", "down", "base"), ("migrate", "up"), ("migrate", "up")):
        assert run(*command)[0] == 0, command
    assert audit(database) == [("migrate", head, "cli")]
