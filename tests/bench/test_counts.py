"""一个任务要多少条命令、语句、提交、更新，多少字节的日志：这些数不看机器快慢，长了就是退步。

机器慢，起停与收尾就久，闲着也有的就多：照闲时每秒几次从一共的里减去。
"""

from __future__ import annotations

import asyncio

from tests.bench.counters import read_tables
from tests.bench.laboratory import open_laboratory
from tests.bench.load import Load
from tests.bench.rows import issue_token
from tests.bench.scale import SHORT
from tests.bench.steady import open_steady
from tests.support.eventually import PATIENT

CALM = ("alter system set autovacuum = off", "select pg_reload_conf()")  # 清理的提交与日志不是任务的
RATE, SECONDS = 20, 4  # 稀得凑不成批：快的机器上也不会更多
IDLE = 13  # 秒：五秒一回的在里面至多三回，看第二眼慢了两秒也是
# 至多：今天的数（14.6、4.8、4.9、1.0、2 690）再加一成。变少了就跟着改小
COMMANDS, STATEMENTS, COMMITS, UPDATES, WAL = 16.1, 5.3, 5.4, 1.1, 2_950
IDLE_COMMANDS, IDLE_STATEMENTS = 17.2, 11.2  # 每秒，各进程一共；今天（15.7、10.2）再加一成
HOT = 0.9  # 至少，tb_task 的：挤满了的页在外


async def test_a_task_and_an_idle_second_cost_no_more_than_they_did() -> None:
    clock = asyncio.get_running_loop().time
    async with open_laboratory(SHORT) as laboratory:
        for statement in CALM:
            await laboratory.administer(statement)
        load = Load(laboratory, await issue_token(laboratory))
        await laboratory.clean()
        before = await read_tables(laboratory)
        async with open_steady(laboratory, load, settings=PATIENT) as steady:
            up = clock()
            await steady.warm(RATE)
            began = clock()
            window = await steady.measure(RATE, SECONDS)
            measured = clock() - began
            idle, seconds = await steady.rest(IDLE)
            up = clock() - up
        tasks = int(await laboratory.number("select count(*) from tb_task"))
        whole = await read_tables(laboratory) - before
    commands, statements = sum(idle.commands.values()) / seconds, idle.statements / seconds
    assert window.tasks > RATE * SECONDS / 2
    assert 1 <= sum(window.commands.values()) - commands * measured / window.tasks <= COMMANDS, window.commands
    assert 1 <= window.statements - statements * measured / window.tasks <= STATEMENTS
    assert 0 < (whole.commits - statements * up) / tasks <= COMMITS
    assert 1 <= whole.record_updates / tasks <= UPDATES
    assert 0 < window.wal <= WAL
    assert whole.record_hot_updates / whole.record_updates >= HOT
    # 别的至多一任务一次：认领改手里的活，交出的先提交了才有，机器慢就多
    assert whole.updates - whole.hot_updates <= tasks
    assert 1 <= commands <= IDLE_COMMANDS, idle.commands
    assert 1 <= statements <= IDLE_STATEMENTS
    assert sum(window.cpu.values()) > 0, window.cpu
