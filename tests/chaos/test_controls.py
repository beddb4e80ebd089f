"""对照弄坏的地方，产品里还在：名字挪走了的、片段改写了的，当场说，不等长战役。"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import ModuleType

import pytest

from kaguan.config import load_settings
from tests.chaos import relay_main, worker_main
from tests.chaos.controls import CONTROLS, SPECIAL_CONTROLS
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

# 自己的进程：弄坏的是模块
SCRIPT = """
import sys
from kaguan.database import sql
from tests.chaos import relay_main, worker_main
known = {name: set(vars(module)) for name, module in sys.modules.items() if name.startswith("kaguan.")}
whole = sql.load
for part in sys.argv[1:]:
    relay_main.mutate(part)
    worker_main.mutate(part)
assert known == {name: set(vars(sys.modules[name])) for name in known}, "a control puts in a name the product has not"
assert not [name for name in known if vars(sys.modules[name]).get("load") is whole], "a statement goes past the control"
for room, name in (("work", "fence"), ("work", "settle_done"), ("work", "declare_intent"), ("recover", "orphan_page")):
    package = f"kaguan.outbox.{room}"
    assert sql.load(package, name) != whole(package, name), name
"""


ALL = [*CONTROLS, *(control for several in SPECIAL_CONTROLS.values() for control in several)]
PARTS = sorted({part for control in ALL for part in control.mutation.split("+")})


@pytest.mark.parametrize("process", [worker_main, relay_main])
async def test_every_broken_build_is_one_that_starts(process: ModuleType, environ: dict[str, str]) -> None:
    """起不来的一件也不做，打不破别的承诺，只是死的。"""
    settings = load_settings({**environ, "KAGUAN_SMTP__URL": "smtp://127.0.0.1:25"})  # 不会有信
    stop = asyncio.Event()
    stop.set()
    await asyncio.gather(*(process.main(settings, stop, [part]) for part in PARTS))


def test_every_control_still_finds_what_it_breaks() -> None:
    command = (sys.executable, "-c", SCRIPT, *PARTS)
    broken = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert broken.returncode == 0, broken.stderr
