"""对照弄坏的地方，产品里还在：名字挪走了的、片段改写了的，当场说，不等长战役。"""

from __future__ import annotations

import subprocess
import sys

from tests.chaos.controls import CONTROLS, SPECIAL_CONTROLS
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

# 自己的进程：弄坏的是模块
SCRIPT = """
import sys
from kaguan.outbox.recover import store
from kaguan.outbox.work import intents, settlement
from tests.chaos import relay_main, worker_main
modules = [relay_main.relay, relay_main.forward, store, settlement, intents]
known = [set(vars(module)) for module in modules]
for part in sys.argv[1:]:
    relay_main.mutate(part)
    worker_main.mutate(part)
    store.load("kaguan.outbox.recover", "orphan_page")
    settlement.load("kaguan.outbox.work", "settle_done")
    intents.load("kaguan.outbox.work", "declare_intent")
assert known == [set(vars(module)) for module in modules], "a control puts in a name that the product does not have"
"""


def test_every_control_still_finds_what_it_breaks() -> None:
    controls = [*CONTROLS, *(control for several in SPECIAL_CONTROLS.values() for control in several)]
    parts = sorted({part for control in controls for part in control.mutation.split("+")})
    command = (sys.executable, "-c", SCRIPT, *parts)
    broken = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert broken.returncode == 0, broken.stderr
