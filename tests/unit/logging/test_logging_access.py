"""访问日志的出口：成批写，不丢行，坏字节也写得出。"""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from kaguan.config.model import Logging
from kaguan.logging.access import AccessLines, access_lines
from tests.support.eventually import PATIENCE

RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


class Recorded:
    """记下每次写。"""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, lines: bytes) -> None:
        self.writes.append(lines)

    def close(self) -> None:
        self.closed = True


def read(directory: Path) -> list[dict[str, Any]]:
    files = [file for file in sorted(directory.iterdir()) if file.suffix != ".lock"]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def test_every_line_is_in_the_file_once_stopped(tmp_path: Path) -> None:
    with access_lines(Logging(directory=tmp_path), "api") as lines:
        for number in range(3_000):
            lines.write(method="GET", path=f"/{number}", status=200)
    written = read(tmp_path)
    assert [line["path"] for line in written] == [f"/{number}" for number in range(3_000)]
    assert {(line["event"], line["level"], line["process"]) for line in written} == {("请求", "info", "api")}
    assert all(RFC3339_UTC.fullmatch(line["timestamp"]) for line in written)


def test_a_line_is_written_without_waiting_for_the_stop() -> None:
    output, arrived = Recorded(), threading.Event()
    record = output.write

    def write(lines: bytes) -> None:
        record(lines)
        arrived.set()

    output.write = write  # type: ignore[method-assign] # 只为知道它何时被调用
    lines = AccessLines(output, "api")
    writer = threading.Thread(target=lines.run)
    writer.start()
    lines.write(path="/")
    assert arrived.wait(PATIENCE)
    lines.stop()
    writer.join(PATIENCE)
    assert not writer.is_alive()


def test_many_lines_are_one_write_and_chunks_hold_whole_lines() -> None:
    output = Recorded()
    lines = AccessLines(output, "api", chunk=1_000)
    for number in range(50):
        lines.write(path="x" * 100, number=number)
    assert output.writes == []
    lines.close()
    assert 1 < len(output.writes) < 25
    assert all(len(chunk) <= 1_000 and chunk.endswith(b"\n") for chunk in output.writes)
    assert [json.loads(line)["number"] for line in b"".join(output.writes).splitlines()] == list(range(50))
    assert output.closed


def test_a_stuck_writer_makes_the_caller_write_instead_of_losing_lines() -> None:
    output = Recorded()
    lines = AccessLines(output, "api", pending_limit=2_000)
    for _ in range(100):
        lines.write(path="x" * 100)  # 没有写的线程
    assert len(b"".join(output.writes).splitlines()) >= 80


def test_files_rotate_at_their_size_with_no_line_lost(tmp_path: Path) -> None:
    with access_lines(Logging(directory=tmp_path, max_bytes=4_000, backups=100), "api") as lines:
        for number in range(200):
            lines.write(path=f"/{number}")
    written = read(tmp_path)
    assert sorted(line["path"] for line in written) == sorted(f"/{number}" for number in range(200))
    assert all(file.stat().st_size <= 4_000 for file in tmp_path.iterdir())


def test_lone_surrogates_are_written_escaped(tmp_path: Path) -> None:
    with access_lines(Logging(directory=tmp_path), "api") as lines:
        lines.write(user_agent="bad \udcff", status=400)
    (line,) = read(tmp_path)
    assert (line["user_agent"], line["status"]) == ("bad \\udcff", 400)


def test_without_a_directory_lines_go_to_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with access_lines(Logging(), "api") as lines:
        lines.write(path="/")
    assert b'"path":"/"' in capfdbinary.readouterr().out


def test_no_number_of_refused_lines_evicts_an_accepted_one(tmp_path: Path) -> None:
    with access_lines(Logging(directory=tmp_path, max_bytes=4_000, backups=2), "api") as lines:
        lines.write(accepted=True, path="/kept", request_body="evidence")
        for number in range(1_000):
            lines.write(path=f"/{number}", request_body="x" * 500)
    assert [line["path"] for line in read_family(tmp_path, "access.accepted.log")] == ["/kept"]
    assert "/kept" not in {line["path"] for line in read_family(tmp_path, "access.log")}
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 4_000 * 4


def test_the_one_file_has_every_line_and_the_other_the_accepted_ones(tmp_path: Path) -> None:
    with access_lines(Logging(directory=tmp_path), "api") as lines:
        for number in range(1_000):
            lines.write(accepted=number % 3 == 0, path=f"/{number}")
    assert [line["path"] for line in read_family(tmp_path, "access.log")] == [f"/{number}" for number in range(1_000)]
    accepted = [line["path"] for line in read_family(tmp_path, "access.accepted.log")]
    assert accepted == [f"/{number}" for number in range(0, 1_000, 3)]


def read_family(directory: Path, name: str) -> list[dict[str, Any]]:
    """``name`` 与它轮转出来的文件里的行，旧的在前。"""
    files = [*sorted(directory.glob(f"{name}.[0-9]*"), reverse=True), directory / name]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
