"""日志的契约：每行的字段、终端与 JSON、标准库桥接、访问日志、脱敏。"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from saq.job import Job

from kaguan.config.model import Logging
from kaguan.logging.psycopg_lines import ROLLED_BACK, SAID
from kaguan.logging.repeats import REPEATS
from kaguan.logging.setup import APP_LOG, configure_logging
from kaguan.words.log import bound, get_logger

RFC3339_UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$")
SECRETS = ("s3cr3t-dsn", "s3cr3t-token", "s3cr3t-pass", "alice@example.com")


@pytest.fixture
def config(tmp_path: Path) -> Logging:
    return Logging(directory=tmp_path)


@pytest.fixture
def configured(config: Logging) -> Iterator[Logging]:
    with configure_logging(config, "test"):
        yield config


def lines(config: Logging, name: str = APP_LOG) -> list[dict[str, Any]]:
    assert config.directory is not None
    return [json.loads(line) for line in (config.directory / name).read_text("utf-8").splitlines()]


def fail(message: str) -> None:
    raise RuntimeError(message)


def test_a_new_exception_is_heard_through_the_one_that_repeats(configured: Logging) -> None:
    failures: list[Callable[[], object]] = [
        lambda: fail("第一种"),
        lambda: int("第二种"),
    ]
    for failure in failures:
        for _ in range(REPEATS + 1):
            try:
                failure()
            except (RuntimeError, ValueError):
                get_logger("t").exception("处理器意外失败")
    assert len(lines(configured)) == 2 * REPEATS


def test_a_line_tells_when_who_and_what(configured: Logging) -> None:
    get_logger("kaguan.somewhere").info("做了一件事", count=3)
    (line,) = lines(configured)
    assert RFC3339_UTC.match(line["timestamp"])
    assert (line["level"], line["event"], line["logger"], line["count"]) == (
        "info",
        "做了一件事",
        "kaguan.somewhere",
        3,
    )
    assert line["process"] == "test"
    assert isinstance(line["pid"], int)


def test_a_line_carries_the_bound_ids_and_the_current_span(configured: Logging) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with (
        bound(request_id="r-1", task_id="t-1", task_type="email:send"),
        tracer.start_as_current_span("s") as span,
    ):
        get_logger("t").warning("在跨度里")
        logging.getLogger("third.party").warning("标准库的 %s", "一行")
    context = span.get_span_context()
    for line in lines(configured):
        assert line["trace_id"] == trace.format_trace_id(context.trace_id)
        assert line["span_id"] == trace.format_span_id(context.span_id)
        assert (line["request_id"], line["task_id"], line["task_type"]) == ("r-1", "t-1", "email:send")
    assert lines(configured)[1]["event"] == "标准库的 一行"


def test_below_the_level_nothing_is_written(configured: Logging) -> None:
    get_logger("t").debug("太细")
    logging.getLogger("third.party").debug("太细")
    assert lines(configured) == []


def test_not_on_a_terminal_the_stream_is_json(configured: Logging, capsys: pytest.CaptureFixture[str]) -> None:
    del configured
    get_logger("t").info("一行")
    captured = capsys.readouterr()
    assert json.loads(captured.err)["event"] == "一行"
    assert captured.out == ""


def test_console_format_is_readable_and_the_file_stays_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Logging(directory=tmp_path, format="console")
    with configure_logging(config, "test"):
        get_logger("t").info("一行", a=1)
    shown = capsys.readouterr().err
    assert "一行" in shown
    assert "a=1" in shown
    assert not shown.startswith("{")
    assert lines(config)[0]["event"] == "一行"


def test_closing_restores_what_was_there(config: Logging) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("saq").level
    configure_logging(config, "test").close()
    assert (root.handlers[:], root.level, logging.getLogger("saq").level) == before


def test_planted_secrets_never_reach_a_line(configured: Logging, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured.directory is not None
    log = get_logger("t")
    log.info("连接", url="postgresql://kaguan:s3cr3t-dsn@db:5432/kaguan", nested={"password": "s3cr3t-pass"})
    log.warning("认证 Bearer s3cr3t-token", token="s3cr3t-token")
    logging.getLogger("psycopg").error("connection failed: host=db password=s3cr3t-pass user=kaguan")
    logging.getLogger("redis").error("redis://:%s@cache:6379/0", "s3cr3t-dsn")
    try:
        fail('DETAIL:  Key (email)=(alice@example.com) already exists. {"password": "s3cr3t-pass"}')
    except RuntimeError:
        log.exception("出错")
        logging.getLogger("third").exception("出错")
    written = (configured.directory / APP_LOG).read_text("utf-8") + capsys.readouterr().err
    assert written.count("***") >= 8
    for secret in SECRETS:
        assert secret not in written


def test_a_failing_saq_job_is_logged_without_its_arguments(configured: Logging) -> None:
    assert configured.directory is not None
    job = Job(function="email:send", kwargs={"to": "alice@example.com", "x": "s3cr3t-pass"}, key="task-1")
    logger = logging.getLogger("saq")
    logger.info("Processing %s", job.info(True))
    try:
        fail("boom")
    except RuntimeError:
        logger.exception("Error processing job %s", job)
    written = (configured.directory / APP_LOG).read_text("utf-8")
    (line,) = lines(configured)
    assert "task-1" in line["event"]
    assert "boom" in line["exception"]
    for secret in SECRETS:
        assert secret not in written


def test_lines_of_psycopg_are_told_in_our_words_without_addresses(configured: Logging) -> None:
    sources = [
        path.read_text("utf-8")
        for package in (psycopg, psycopg_pool)
        for path in Path(package.__path__[0]).glob("*.py")
    ]
    assert [said for said in SAID if not any(f'"{said}"' in source for source in sources)] == []
    logger, connection = logging.getLogger("psycopg.pool"), object()
    for said in SAID:
        given = [connection] * (said.count("%s") + said.count("%r") - 1) + [psycopg.OperationalError("x")]
        logger.warning(said, *(given if "%" in said else ()))
    logger.warning("more of it: %s, %s", connection, 3)
    told = [line["event"] for line in lines(configured)]
    assert set(told) == {*SAID.values(), "more of it: object, 3"}
    assert all(line["error"] == "OperationalError" for line in lines(configured) if line["event"] == ROLLED_BACK)


def test_debug_does_not_open_the_mouth_of_saq(tmp_path: Path) -> None:
    config = Logging(directory=tmp_path, level="DEBUG")
    with configure_logging(config, "test"):
        logging.getLogger("saq").debug("kwargs: s3cr3t-pass")
        get_logger("t").debug("我们的")
    assert [line["event"] for line in lines(config)] == ["我们的"]


def test_a_full_disk_or_a_closed_pipe_does_not_break_the_caller(
    configured: Logging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", refuse)
    get_logger("t").info("写不进去")
    monkeypatch.undo()
    get_logger("t").info("又行了")
    assert [line["event"] for line in lines(configured)] == ["又行了"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("半个字 \ud800", "半个字 \\ud800"),
        ("\udfff", "\\udfff"),
        (2**64, str(2**64)),
        ({(1, 2): "x", None: 1}, {"(1, 2)": "x", "None": 1}),
    ],
)
def test_what_json_cannot_hold_is_written_as_text_and_does_not_break_the_caller(
    configured: Logging, value: object, written: object
) -> None:
    get_logger("t").info("一行", value=value)
    assert [line["value"] for line in lines(configured)] == [written]


def test_a_line_that_cannot_be_formatted_does_not_break_the_caller_and_shows_no_arguments(config: Logging) -> None:
    with configure_logging(config, "test"):  # 在用例里配置：pytest 自己的处理器会抛
        logging.getLogger("third.party").warning("%d 个", "s3cr3t-pass")
    (line,) = lines(config)
    assert (line["logger"], line["error"], line["level"]) == ("third.party", "TypeError", "error")
    assert "s3cr3t-pass" not in str(line)


def test_no_line_moves_the_terminal_and_json_still_says_what_was_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "\x1b]0;title\x07 \x9b31m \u202e \U000e0001 卡管"
    with configure_logging(Logging(directory=tmp_path, format="console"), "test"):
        get_logger("t").info(said, value=said, nested={"value": said})
        assert all(character.isprintable() or character == "\n" for character in capsys.readouterr().err)
    raw = (tmp_path / APP_LOG).read_text("utf-8")
    assert raw.rstrip("\n").isprintable()
    assert [json.loads(raw)[key] for key in ("event", "value", "nested")] == [said, said, {"value": said}]
