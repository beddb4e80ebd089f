"""一个任务要多少条命令、语句、提交、更新，多少字节的日志：这些数不看机器快慢，长了就是退步。"""

from __future__ import annotations

from tests.bench.counters import read_tables
from tests.bench.laboratory import open_laboratory
from tests.bench.load import Load
from tests.bench.rows import issue_token
from tests.bench.scale import SHORT
from tests.bench.steady import open_steady

RATE, SECONDS = 20, 4  # 稀得凑不成批：快的机器上也不会更多
IDLE = 15  # 秒：五秒一回的在里面三回，不多不少
# 至多：今天的数（15.6、5.4、5.5、1.0、2 690，闲着也有的在内）再加一成。变少了就跟着改小
COMMANDS, STATEMENTS, COMMITS, UPDATES, WAL = 17.1, 5.9, 6.1, 1.1, 2_950
IDLE_COMMANDS, IDLE_STATEMENTS = 17.2, 11.2  # 每秒，各进程一共；今天（15.7、10.2）再加一成
HOT = 0.8  # 至少：别的更新（认领改手里的活）与挤满了的页在外


async def test_a_task_and_an_idle_second_cost_no_more_than_they_did() -> None:
    async with open_laboratory(SHORT) as laboratory:
        load = Load(laboratory, await issue_token(laboratory))
        await laboratory.clean()
        before = await read_tables(laboratory)
        async with open_steady(laboratory, load) as steady:
            await steady.warm(RATE)
            window = await steady.measure(RATE, SECONDS)
            idle, seconds = await steady.rest(IDLE)
        tasks = int(await laboratory.number("select count(*) from tb_task"))
        whole = await read_tables(laboratory) - before
    assert window.tasks > RATE * SECONDS / 2
    assert 1 <= sum(window.commands.values()) <= COMMANDS, window.commands
    assert 1 <= window.statements <= STATEMENTS
    assert 0 < (whole.commits - idle.statements) / tasks <= COMMITS
    assert 1 <= whole.record_updates / tasks <= UPDATES
    assert 0 < window.wal <= WAL
    assert whole.hot_updates / whole.updates >= HOT
    assert 1 <= sum(idle.commands.values()) / seconds <= IDLE_COMMANDS, idle.commands
    assert 1 <= idle.statements / seconds <= IDLE_STATEMENTS
    assert min(window.cpu.values()) > 0, window.cpu
