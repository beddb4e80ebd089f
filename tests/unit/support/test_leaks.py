"""漏下的算在漏的那个用例头上。"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.child_pytest import report_of
from tests.support.leaks import DESCRIPTORS, TASKS, LeakJudge, opened

pytestmark = pytest.mark.skipif(
    not (DESCRIPTORS.is_dir() and TASKS.is_dir()), reason="没有 /dev/fd 与 /proc：描述符与子进程数不出来"
)
PLANTED = """
import asyncio, os, socket, subprocess, sys, tempfile
import pytest
import uvloop

from tests.support.places import own_port

KEPT = []


@pytest.fixture(scope="session")
def shared():
    with tempfile.TemporaryFile() as opened:
        yield opened


def test_with_a_shared_fixture(shared):
    pass


@pytest.fixture(scope="session")
def door():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def come_in(door):
    coming = socket.create_connection(door.getsockname())
    KEPT.append(door.accept()[0])
    return coming


def test_what_a_shared_fixture_let_in(door):
    come_in(door).close()


def test_client_of_a_shared_fixture(door):
    KEPT.append(come_in(door))


def test_file():
    KEPT.append(open(os.devnull))


def test_socket():
    socket.socket().bind(("127.0.0.1", 0))


def test_descriptor():
    os.pipe()


def test_process():
    KEPT.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))


async def test_transport():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    KEPT.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
    server.close()


async def test_task():
    KEPT.append(asyncio.create_task(asyncio.sleep(3600), name="forgotten"))


async def test_in_a_cycle():
    reader, writer = await asyncio.open_connection(sock=socket.create_connection(SERVER.getsockname()))
    writer.itself = writer


def test_with_a_port_of_the_process():
    own_port()


def test_with_the_pipe_of_libuv():
    uvloop.run(asyncio.sleep(0))


def test_tidy():
    with tempfile.TemporaryFile():
        subprocess.run([sys.executable, "-c", ""], check=True)


async def test_task_about_to_end():
    KEPT.append(asyncio.create_task(asyncio.to_thread(os.getpid)))


async def test_tidy_loop():
    await asyncio.create_task(asyncio.sleep(0))


def test_that_failed():
    opened = open(os.devnull)
    raise AssertionError("its own reason")


def test_after_the_one_that_failed():
    pass


def teardown_module():
    for one in KEPT:
        if isinstance(one, subprocess.Popen):
            one.communicate()


SERVER = socket.create_server(("127.0.0.1", 0))
"""
CULPRITS = sorted([
    "file", "socket", "client_of_a_shared_fixture", "descriptor", "process", "transport", "task", "in_a_cycle",
    "that_failed",
])  # fmt: skip


def test_what_is_left_open_is_seen_by_the_judge_of_every_test(request: pytest.FixtureRequest) -> None:
    """全套的在 make prove P=rigs。"""
    assert [one for one in request.config.pluginmanager.get_plugins() if isinstance(one, LeakJudge)] != []
    judge = LeakJudge(known=opened())
    with Path(os.devnull).open("rb") as kept:
        assert any(f"描述符 {kept.fileno()}" in line for line in judge.leaked())
    assert judge.leaked() == []


@pytest.mark.rigs
def test_each_leak_is_the_failure_of_the_test_that_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """八种漏法各失败在自己头上；收拾干净的、正在收尾的、用共用夹具的、归整个进程的、排在失败的后面的，都不受牵连。"""
    monkeypatch.setenv("TEST_PATIENCE", "10")  # 漏下的任务要等它走完：不必等满
    told = report_of(tmp_path, {"test_planted.py": PLANTED}, "leaks")
    assert sorted(re.findall(r"^(?:ERROR|FAILED) .*::test_(\w+)", told, re.MULTILINE)) == CULPRITS, told
    for named in ("/dev/null", "forgotten", "input()"):
        assert named in told
