"""轮转：大小、份数、多进程同写。"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from kaguan.logging.rotation import RotatingFile
from tests.support.eventually import PATIENCE

WRITER = """
import pathlib, sys
from kaguan.logging.rotation import RotatingFile
path, name = pathlib.Path(sys.argv[1]), sys.argv[2]
output = RotatingFile(path, max_bytes=20_000, backups=50)
print("ready", flush=True)
sys.stdin.readline()
for number in range(2_000):
    output.write(f"{name} {number:05} {'x' * 40}\\n".encode())
"""


def test_the_file_is_renamed_when_full_and_old_copies_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "app.log"
    output = RotatingFile(path, max_bytes=20, backups=2)
    for number in range(5):
        output.write(f"line-{number:010}\n".encode())
    output.close()
    kept = {file.name: file.read_text() for file in path.parent.iterdir() if file.suffix != ".lock"}
    assert kept == {
        "app.log": "line-0000000004\n",
        "app.log.1": "line-0000000003\n",
        "app.log.2": "line-0000000002\n",
    }


def test_without_backups_the_file_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    with closing(RotatingFile(path, max_bytes=10, backups=0)) as output:
        output.write(b"first----\n")
        output.write(b"second---\n")
    assert path.read_bytes() == b"second---\n"
    assert not (tmp_path / "app.log.1").exists()


def test_a_line_longer_than_the_limit_is_still_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    with closing(RotatingFile(path, max_bytes=10, backups=1)) as output:
        output.write(b"x" * 100 + b"\n")
    assert len(path.read_bytes()) == 101


def test_writing_after_close_is_ignored(tmp_path: Path) -> None:
    output = RotatingFile(tmp_path / "app.log", max_bytes=10, backups=1)
    output.close()
    output.write(b"late\n")
    output.close()
    assert (tmp_path / "app.log").read_bytes() == b""


def test_several_processes_rotate_one_file_without_losing_or_mixing_a_line(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"w{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for number in range(3)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=PATIENCE)
        assert writer.returncode == 0
    files = [file for file in tmp_path.iterdir() if file.suffix != ".lock"]
    written = sorted(line for file in files for line in file.read_text().splitlines())
    assert written == sorted(f"w{name} {number:05} {'x' * 40}" for name in range(3) for number in range(2_000))
    assert len(files) > 10
    # 看大小与写之间没有锁：每个进程至多多写一行
    assert all(file.stat().st_size <= 20_000 + 3 * 50 for file in files)
