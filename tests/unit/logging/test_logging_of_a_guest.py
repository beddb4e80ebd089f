"""在别人的进程里：没有配置日志的，一个字也不出；打开了的，读到的是一行话，字段随行。"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kaguan.words.log import Line, bound, english, get_logger
from tests.support.eventually import PATIENCE
from tests.support.repository import trees

LIBRARY = tuple(f"src/kaguan/{room}/" for room in ("outbox", "presence", "breakers", "queues", "database", "flow"))

SILENT = """
import kaguan.outbox
from kaguan.outbox import *
from kaguan.words.log import get_logger
log = get_logger("kaguan.outbox.work")
log.warning("有人要看才看得见")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("出错")
import logging
logging.getLogger("saq").error("SAQ 的")
"""
HEARD = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(funcName)s %(message)s")
from kaguan.outbox import *
from kaguan.words.log import get_logger
logging.getLogger("saq").info("SAQ 逐任务的")

def accept():
    get_logger("kaguan.outbox.accept").info("受理任务", task_type="receipt:write", count=3, said="two words")

accept()
"""


def said_by(program: str, language: str = "zh") -> tuple[str, str]:
    environ = {**os.environ, "KAGUAN_LANGUAGE": language}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout, done.stderr


def test_a_process_that_configured_no_logging_hears_nothing() -> None:
    assert said_by(SILENT) == ("", "")


def test_a_process_that_asks_for_it_reads_the_event_with_its_fields() -> None:
    assert said_by(HEARD) == (
        "",
        "INFO kaguan.outbox.accept accept 受理任务 task_type=receipt:write count=3 said='two words'\n",
    )


def test_an_application_that_asks_for_english_reads_english() -> None:
    assert "accept task accepted task_type=receipt:write count=3" in said_by(HEARD, "en")[1]


def events(tree: ast.Module) -> Iterator[str]:
    """写定的事件；要填进去的（``%s``）是产品的子进程的。"""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), args=[ast.Constant(value=str(event)), *_]):
                if "%" not in event:
                    yield event


def test_every_event_of_the_library_has_its_english_and_nothing_else_has() -> None:
    said = {event for name, tree in trees("src").items() if name.startswith(LIBRARY) for event in events(tree)}
    assert said == english().keys()


def test_a_line_carries_what_is_bound_around_it(caplog: pytest.LogCaptureFixture) -> None:
    with bound(task_id="t-1"), bound(attempt=2):
        get_logger("kaguan.t").warning("在里面", attempt=3)
    get_logger("kaguan.t").warning("在外面")
    assert [record.msg for record in caplog.records] == [
        {"event": "在里面", "task_id": "t-1", "attempt": 3},
        {"event": "在外面"},
    ]


def test_a_field_of_any_name_and_text_makes_one_line() -> None:
    line = Line(event="一句", level=1, msg="", name="a\nb")
    assert str(line) == r"一句 level=1 msg='' name='a\nb'"
