"""断电时留下一部分：留的是哪一部分，盘说得清。"""

from __future__ import annotations

import random
import stat
from pathlib import Path

from tests.power.disk import SECTOR, Disk, File

SECTORS = 64
NAMES = [b"%02d" % number for number in range(SECTORS)]


def source() -> random.Random:
    return random.Random(71)


def test_whole_sectors_of_what_was_overwritten_and_a_beginning_of_what_grew_may_be_kept() -> None:
    file = File(1, stat.S_IFREG, 0, 0)
    file.write(0, memoryview(b"a" * SECTOR * SECTORS))
    file.sync()
    file.write(0, memoryview(b"b" * SECTOR * SECTORS))
    file.write(SECTOR * SECTORS, memoryview(b"c" * SECTOR * SECTORS))
    file.lose(source(), 0.5)
    overwritten, grown = file.live[: SECTOR * SECTORS], file.live[SECTOR * SECTORS :]
    sectors = {bytes(overwritten[start : start + SECTOR]) for start in range(0, len(overwritten), SECTOR)}
    assert sectors == {b"a" * SECTOR, b"b" * SECTOR}
    assert 0 < len(grown) < SECTOR * SECTORS
    assert set(grown) == {ord("c")}
    assert file.durable == file.live


def test_a_truncated_file_that_grew_again_holds_nothing_of_its_past_once_synced() -> None:
    file = File(1, stat.S_IFREG, 0, 0)
    file.write(0, memoryview(b"a" * SECTOR))
    file.sync()
    file.resize(0)
    file.resize(SECTOR)
    file.sync()
    assert file.durable == bytes(SECTOR)


def test_a_journal_keeps_the_first_names_and_a_bare_disk_any_of_them(tmp_path: Path) -> None:
    kept = {}
    for journal in (True, False):
        disk = Disk(tmp_path, journal=journal)
        for name in NAMES:
            disk.make(disk.root, name, stat.S_IFREG, 0, 0)
        disk.cut(source(), 0.5)
        kept[journal] = list(disk.root.live)
    assert 0 < len(kept[True]) < SECTORS
    assert kept[True] == NAMES[: len(kept[True])]
    assert kept[False] != NAMES[: len(kept[False])]
