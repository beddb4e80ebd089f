"""备库：答应过的备库都有，不在就及时说，只跟一个主库。"""

from __future__ import annotations

from tests.model.mutation import Mutation

AWAY = "tests/integration/database/test_standby_away.py"
FORMER = "tests/integration/outbox/recover/test_two_primaries.py"
EMITTED = "and pg_logical_emit_message(true, 'kaguan', '') is not null"

STANDBY_MUTATIONS = (
    Mutation(
        "重交的不等备库",
        "src/kaguan/outbox/accept/sql/outbox_accept.sql",
        "    perform pg_logical_emit_message(true, 'kaguan', '');\n",
        "",
        (AWAY,),
    ),
    Mutation("重放首个应答不等备库", "src/kaguan/idempotency/sql/find.sql", EMITTED, "", (AWAY,)),
    Mutation(
        "等不到备库当作慢",
        "src/kaguan/database/checked_pool.py",
        "        if notice.source_function == SYNC_WAIT:\n",
        "        if notice.source_function == '':\n",
        (AWAY,),
    ),
    Mutation(
        "停机时等一个不在的备库",
        "src/api/http/guard.py",
        "            async with asyncio.timeout(TOUCH_TIMEOUT), self._pool.connection() as connection:\n",
        "            async with self._pool.connection() as connection:\n",
        (AWAY,),
    ),
    Mutation(
        "切换之前的主库也跟",
        "src/kaguan/database/pool.py",
        "        pool.stay_with(connection)\n",
        "",
        (FORMER,),
    ),
)
