"""一个任务要多少条命令、语句、提交、更新，多少字节的日志：这些数不看机器快慢，长了就是退步。"""

from __future__ import annotations

from tests.bench.laboratory import open_laboratory
from tests.bench.load import Load
from tests.bench.rows import issue_token
from tests.bench.scale import SHORT
from tests.bench.steady import run

RATE, SECONDS = 20, 4  # 稀得凑不成批：快的机器上也不会更多
# 至多：今天的数（17.7、6.9、5.7、1.0、2 690，闲着也有的在内）再加一成。变少了就跟着改小
COMMANDS, STATEMENTS, COMMITS, UPDATES, WAL = 19.5, 7.5, 6.3, 1.1, 2_950
HOT = 0.8  # 至少：别的更新（认领改手里的活）与挤满了的页在外


async def test_a_task_costs_no_more_than_it_did() -> None:
    async with open_laboratory(SHORT) as laboratory:
        load = Load(laboratory, await issue_token(laboratory))
        figures = await run(laboratory, load, RATE, [SECONDS])
    (window,), tasks, whole = figures.windows, figures.all_tasks, figures.whole
    assert window.tasks > RATE * SECONDS / 2
    assert 1 <= sum(window.commands.values()) <= COMMANDS, window.commands
    assert 1 <= window.statements <= STATEMENTS
    assert 0 < whole.commits / tasks <= COMMITS
    assert 1 <= whole.record_updates / tasks <= UPDATES
    assert 0 < window.wal <= WAL
    assert whole.hot_updates / whole.updates >= HOT
    assert min(window.cpu.values()) > 0, window.cpu
