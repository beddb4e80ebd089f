"""``kaguan up``：真实的命令、真实的进程、真实的信号；各进程由热的解释器分出来，现起的那套见 ``test_wheel.py``。"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kaguan.dev.ports import is_free
from kaguan.dev.predecessor import command_line
from tests.e2e.stack import READY, RunningStack, kaguan, started
from tests.support.eventually import eventually
from tests.support.otlp_receiver import otlp_receiver
from tests.support.places import own_port

CHILDREN = {"postgres", "valkey", "traceview", "smtp", "simulator", "api", "relay", "worker"}
USER = {"username": "zhangsan", "email": "zhangsan@example.com", "password": "correct horse"}
NOBODY = pwd.getpwnam("nobody")
ROOT_HERE = os.geteuid() == 0  # 服务器换成 nobody
DIES_WITH_PARENT = sys.platform == "linux"  # 别处没有 PR_SET_PDEATHSIG


async def welcome_mail(stack: RunningStack) -> None:
    """走完一条真实的路：建用户 → 发件箱 → 队列 → worker → SMTP。"""
    status, answer = stack.request("POST", "/api/v1/users", USER)
    assert status == 201, answer
    await eventually(lambda: list((stack.data / "mail").glob("*.eml")))


def as_printed(stack: RunningStack) -> None:
    """印出的下一步，照抄到另一个终端（别的目录，PATH 上没有这个程序）里就能用。"""
    lines = [line.strip() for line in stack.output.splitlines()]
    for step in (" task list ", "ls "):
        command = next(line for line in lines if step in f"{line} " and str(stack.data) in line and "#" in line)
        bare = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(["/bin/sh", "-c", command], env=bare, cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout


def statuses(stack: RunningStack) -> list[str]:
    return [task["status"] for task in stack.request("GET", "/api/v1/tasks")[1]["data"]["items"]]


async def well(data: Path) -> None:
    """``kaguan doctor`` 没有话说了；等不到，就是它末一次说的。"""
    asked = [kaguan("doctor", data=data)]

    def is_well() -> bool:
        asked[0] = kaguan("doctor", data=data)
        return asked[0].returncode == 0

    try:
        await eventually(is_well)
    except AssertionError as late:
        raise AssertionError(asked[0].stdout + asked[0].stderr) from late


@pytest.mark.measured
async def test_a_killed_stack_leaves_no_orphan_and_the_next_one_goes_on_works_and_stops_cleanly(place: Path) -> None:
    """起之前就有人抢了它挑的一个端口；第二套的子进程个个被杀过一次。"""
    data = place / "data"
    with thief() as taking:
        stealing = asyncio.create_task(steal(taking, data / "ports.json"))
        async with started(data, place / "log") as stack:
            if port := await stealing:
                assert re.search(rf"postgres 的端口被别的程序抢先占去.*{port}", stack.output)
                assert f":{port}/" not in stack.env["KAGUAN_DATABASE__URL"]
            await welcome_mail(stack)
            await eventually(lambda: statuses(stack) == ["succeeded"])  # 寄到了，还没结算就被杀的，是结局不明
            token, children, addresses = stack.token, stack.pids(), stack.env
            assert set(children) == CHILDREN
            assert all(command_line(pid) for pid in children.values())
            for private in ("env", "dev-token"):
                assert stat.S_IMODE((data / private).stat().st_mode) == 0o600
            assert token in stack.output
            as_printed(stack)
            if DIES_WITH_PARENT:
                stack.signal(signal.SIGKILL)
                await stack.gone()
                await stack.nothing_left(children)
    async with started(data, place / "log") as stack:
        assert stack.token == token
        assert not moved(stack, addresses, "KAGUAN_DATABASE__URL", "KAGUAN_REDIS__URL", "KAGUAN_SMTP__URL")
        assert stack.request("GET", "/api/v1/users")[1]["data"]["total"] == 1
        listed = kaguan("task", "list", "--json", data=data)
        assert [task["status"] for task in json.loads(listed.stdout)] == ["succeeded"], listed.stderr
        # 就绪了，还要几拍才认出被杀的那些有了后继
        await well(data)
        assert (data / "logs" / "app.log").exists()
        assert (data / "logs" / "access.log").exists()
        assert kaguan("up", data=data).returncode == 1
        await every_killed_child_comes_back(stack)
        again = {"to": ["lisi@example.com"], "subject": "s", "body": "b"}
        assert stack.request("POST", "/api/v1/tasks/email", again)[0] == 202
        await eventually(lambda: statuses(stack) == ["succeeded"] * 2)
        assert len(list((data / "mail").glob("*.eml"))) == 2

        children = stack.pids()
        stack.signal(signal.SIGINT)
        assert await stack.gone() == 0
        await stack.nothing_left(children)
        order = re.findall(r"正在停止 (\w+)", stack.output)
        assert order[-8:] == ["worker", "relay", "api", "simulator", "smtp", "traceview", "valkey", "postgres"]
        assert list((data / "pids").iterdir()) == []


PORTS = ("KAGUAN_API__PORT", "KAGUAN_RELAY__METRICS_PORT", "KAGUAN_WORKER__METRICS_PORT", "KAGUAN_SMTP__URL")


async def test_two_stacks_started_at_once_without_ports_work_in_a_folder_that_only_root_may_enter(place: Path) -> None:
    """一个平常的用户起的那套，见 ``test_wheel.py``。"""
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    async with AsyncExitStack() as both:
        stacks = await asyncio.gather(
            *(
                both.enter_async_context(started(closed / name, place / f"{name}.log", named_ports=False))
                for name in ("first", "second")
            )
        )
        first, second = stacks
        assert not {first.env[key] for key in PORTS} & {second.env[key] for key in PORTS}
        for stack in stacks:
            if ROOT_HERE:
                servers = (stack.data / "servers").resolve()
                assert servers.is_relative_to("/var/lib/kaguan")
                assert str(servers) in stack.output
                assert stack.owner("postgres") == NOBODY.pw_uid
            await welcome_mail(stack)
            assert stack.request("GET", "/api/v1/users")[1]["data"]["total"] == 1
            assert "意外退出" not in stack.output


@contextmanager
def thief() -> Iterator[socket.socket]:
    """要抢端口的陌生程序。"""
    with socket.socket() as taking:
        taking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield taking


def chosen(ports: Path) -> int:
    return int(json.loads(ports.read_text())["postgres"]) if ports.exists() else 0


async def steal(taking: socket.socket, ports: Path) -> int:
    """端口选下之后建库还要几秒：抢在 PostgreSQL 监听之前。停顿了几秒、没有抢到的：0。"""
    port = await eventually(lambda: chosen(ports))
    if not bound(taking, ("127.0.0.1", port)):
        return 0
    taking.listen()
    return port


async def every_killed_child_comes_back(stack: RunningStack) -> None:
    before = stack.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for name, pid in before.items():
        await stack.replaced(name, pid)
        assert re.search(rf"{name} 意外退出，稍后重启.*信号 SIGKILL", stack.output)
    await eventually(stack.ready)


async def a_second_signal_forces_the_stop(stack: RunningStack) -> None:
    children = stack.pids()
    os.kill(children["worker"], signal.SIGSTOP)  # 停不下来的 worker
    stack.signal(signal.SIGINT)
    await eventually(lambda: "按相反次序停止" in stack.output)  # 它自己的：子进程也说收到
    stack.signal(signal.SIGINT)
    await stack.gone()
    assert "再次收到停止信号" in stack.output
    await stack.nothing_left(children)


@pytest.mark.measured
async def test_what_is_given_is_used_a_port_stolen_from_the_dead_is_chosen_again_and_a_second_signal_forces_the_stop(
    place: Path, database_url: str, redis_url: str
) -> None:
    async with otlp_receiver() as receiver:
        given = {
            "KAGUAN_DATABASE__URL": database_url,
            "KAGUAN_REDIS__URL": redis_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        children = CHILDREN - {"postgres", "valkey", "traceview"}
        async with started(place / "data", place / "log", named_ports=False, extra=given) as stack:
            assert set(stack.pids()) == children
            assert {key: stack.env[key] for key in given} == given
            assert "  跟踪  " not in stack.output
            await a_stolen_port_is_chosen_again(stack)
            await welcome_mail(stack)
            await receiver.wait_for(lambda span: span.service == "kaguan-worker" and span.name == "process email:send")
            assert set(stack.pids()) == children
            await a_second_signal_forces_the_stop(stack)


async def a_stolen_port_is_chosen_again(stack: RunningStack) -> None:
    before = stack.env
    with thief() as taking:
        stack.signal(signal.SIGSTOP)  # 监督者来不及先重启它
        stack.send("worker", signal.SIGKILL)
        address = ("127.0.0.1", int(before["KAGUAN_WORKER__METRICS_PORT"]))
        await eventually(lambda: bound(taking, address))
        taking.listen()
        stack.signal(signal.SIGCONT)
        await eventually(lambda: stack.output.count(READY) == 2)
        assert re.search(r"worker 的端口被别的程序占去", stack.output)
    assert moved(stack, before, *before) == {"KAGUAN_WORKER__METRICS_PORT"}


def moved(stack: RunningStack, before: Mapping[str, str], *keys: str) -> set[str]:
    """变了的；原来的端口这时被并行的用例占去了的不算。"""
    changed = {key: before[key] for key in keys if stack.env[key] != before[key]}
    return {key for key, value in changed.items() if is_free(urlsplit(value).port or int(value))}


def bound(taking: socket.socket, address: tuple[str, int]) -> bool:
    try:
        taking.bind(address)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("key", ["KAGUAN_RELAY__METRICS_PORT", "KAGUAN_WORKER__METRICS_PORT", "KAGUAN_SIMULATOR__PORT"])
def test_a_named_port_is_never_changed(place: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        result = kaguan("up", data=place / "data", **{key: port})
    refused(result.returncode, result.stderr, port, "已被占用", key)
    assert result.returncode == 1


def refused(result_code: int, output: str, *said: str) -> None:
    assert result_code != 0
    assert len(output.splitlines()) == 1, output
    for part in said:
        assert part in output


def test_a_taken_port_is_one_line(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        result = kaguan("up", data=place / "data", KAGUAN_API__PORT=port)
    refused(result.returncode, result.stderr, port, "已被占用", "KAGUAN_API__PORT")
    assert result.returncode == 1


def test_an_unwritable_data_directory_is_one_line(place: Path) -> None:
    (place / "file").touch()
    result = kaguan("up", data=place / "file" / "data")
    refused(result.returncode, result.stderr, "不可写", "KAGUAN_DATA_DIR")


def test_an_unknown_configuration_key_is_one_line(place: Path) -> None:
    result = kaguan("up", data=place / "data", KAGUAN_DATABASE__ULR="x")
    refused(result.returncode, result.stderr, "KAGUAN_DATABASE__ULR", "KAGUAN_DATABASE__URL")
    assert result.returncode == 2
    assert not (place / "data").exists()


def test_an_unreachable_given_database_is_one_line(place: Path) -> None:
    url = f"postgresql://kaguan:planted-secret@127.0.0.1:{own_port()}/kaguan"
    result = kaguan("up", data=place / "data", KAGUAN_DATABASE__URL=url, KAGUAN_API__PORT=str(own_port()))
    refused(result.returncode, result.stderr, "KAGUAN_DATABASE__URL")
    assert "planted-secret" not in result.stderr + result.stdout


def test_a_server_that_dies_at_start_is_one_line(place: Path) -> None:
    data = place / "data"
    (data / "servers" / "postgres" / "data").mkdir(parents=True)
    (data / "secrets").mkdir()
    (data / "servers" / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    for name in ("postgres-password", "postgres-password-admin"):
        (data / "secrets" / name).write_text("x")
    result = kaguan("up", data=data, KAGUAN_API__PORT=str(own_port()))
    refused(result.returncode, result.stderr, "postgres 启动时退出")
    assert list((data / "pids").iterdir()) == []
