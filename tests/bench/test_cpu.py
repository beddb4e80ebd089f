"""CPU 按进程树算：在世的后代、已收回的后代都算在它头上，别人的不算。"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bench.comparison import MeasureError
from tests.bench.cpu import cpu_seconds, resident_mib

pytestmark = pytest.mark.rigs

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
TREE = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}])
alive = subprocess.Popen([sys.executable, "-c", {BURN + "print(flush=True); input()"!r}], stdin=0)
alive.wait()
"""


def test_a_tree_answers_for_its_children_dead_and_alive() -> None:
    with subprocess.Popen((sys.executable, "-c", TREE), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = cpu_seconds({"self": os.getpid()})["self"]
        found = cpu_seconds({"tree": process.pid, "self": os.getpid()})
        process.communicate(b"\n")
    assert found["tree"] >= 0.5  # 两个各烧了 0.3 秒；内核按一百分之一秒取整
    assert found["self"] >= before
    with pytest.raises(MeasureError, match="tree"):
        cpu_seconds({"tree": process.pid})


def test_this_process_has_some_memory() -> None:
    assert 1 < resident_mib(os.getpid()) < 100_000
