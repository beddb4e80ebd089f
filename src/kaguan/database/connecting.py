"""一条连接怎么开，时限怎么生效：直连时设在会话里，经连接池时随每个事务带去。是哪一种，开连接时问一句（ADR 0026）。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline, capabilities, generators, sql
from psycopg.abc import Params, PQGen, Query, QueryNoTemplate
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from kaguan.config.model import Database

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]

# 池子（PgBouncer、Odyssey、pgcat）握手时报的进程号是它自己编的；服务器说的是真的，两者相同即直连。
# CASE 不相等就不求值：会话不归我们时，什么也不设。顺便问是哪个集群、在第几条时间线上；备库没有
IS_DIRECT = """
select case pg_backend_pid() when %(pid)s then {settings} end is not null,
       (select system_identifier from pg_control_system()),
       case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end
"""
PLACES = {"host", "hostaddr", "port"}
TOGETHER = "+"  # 一个进程几个角色，连接上报的名字里它们这样连着：``relay+worker``
# 收发的热路径：每次按号取几行的小语句，各连接只计划一遍。逐次计划要占一条认领的四成；而在还小的表上
# 计划好的全表扫描，表长大之后照走，要到自动分析之后才换，所以不许它选（docs/adr/0034）
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
# 代管预备语句的池子给它们另起名字；看得见 psycopg 起的名字，就是没有代管：换一条服务器连接就不认得了
OWN_NAMES = "select name from pg_prepared_statements where not from_sql and name like '\\_pg3\\_%'"


TIMELINE_DIGITS, HEXADECIMAL = 8, frozenset("0123456789ABCDEF")


class History(NamedTuple):
    """一个主库的集群（系统标识）与时间线（八位十六进制）。"""

    cluster: str
    timeline: str

    @classmethod
    def read(cls, text: str | None) -> History | None:
        """抄在 Redis 里的；没有、看不懂的是 None。"""
        cluster, _, timeline = (text or "").partition(":")
        is_sound = cluster.isdecimal() and len(timeline) == TIMELINE_DIGITS and set(timeline) <= HEXADECIMAL
        return cls(cluster, timeline) if is_sound else None

    def __str__(self) -> str:
        return ":".join(self)


def is_former(met: History | None, followed: History | None) -> bool:
    """同一个集群而时间线更旧：是切换之前的那个又当起了主的。"""
    return bool(met and followed and met.cluster == followed.cluster and met.timeline < followed.timeline)


class LimitedCursor(AsyncCursor[Any]):
    """时限不在会话里时，不在事务里的语句带着它去：同一趟，同一个隐式事务，不多一次往返。"""

    def _execute_gen(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> PQGen[None]:
        statement = super()._execute_gen(query, params, prepare=prepare, binary=binary)
        limits = _limits_to_send(self.connection)
        yield from _in_one_trip(self.connection, limits, statement) if limits else statement

    def _executemany_gen_pipeline(self, query: Query, params_seq: Iterable[Params], returning: bool) -> PQGen[None]:  # noqa: FBT001 父类的签名
        """本来就在管道里。"""
        if limits := _limits_to_send(self.connection):
            yield from self.connection._exec_command(limits)  # noqa: SLF001 见 LimitedConnection
        yield from super()._executemany_gen_pipeline(query, params_seq, returning)


def _in_one_trip(connection: Connection, limits: bytes, statement: PQGen[None]) -> PQGen[None]:
    """时限与语句进同一个管道。

    一个生成器做到底：半途被取消，psycopg 取消了语句还接着跑它，管道因此总收拾得干净；它自己的 ``pipeline()``
    分成几步，取消落在收尾上，CancelledError 就成了 OperationalError，取消不了。
    """
    pgconn = connection.pgconn
    pipeline = connection._pipeline = AsyncPipeline(connection)  # noqa: SLF001 psycopg 没有别的做法
    failures: list[Exception] = []
    try:
        pgconn.enter_pipeline_mode()
        # 先发出一条再等：等的时候连接总在忙，被取消了 psycopg 就知道要收尾
        pgconn.send_query_params(limits, None)
        pipeline.result_queue.append(None)
        for step in (statement, _sync(pipeline), pipeline._fetch_gen(flush=True)):  # noqa: SLF001 同上
            try:
                yield from step
            except Exception as error:  # noqa: BLE001 参数装不成也一样：已经发出的要收完
                failures.append(error)
        if pgconn.status == ConnStatus.OK:
            pgconn.exit_pipeline_mode()
    finally:
        connection._pipeline = None  # noqa: SLF001 同上
    if failures:
        raise failures[0]


def _sync(pipeline: AsyncPipeline) -> PQGen[None]:
    pipeline._enqueue_sync()  # noqa: SLF001 见 _in_one_trip
    yield from pipeline._communicate_gen()  # noqa: SLF001 同上


class LimitedConnection(Connection):
    """``limits`` 非空，时限就不在会话里：每个事务自己带着。``history`` 是对面的集群与时间线，备库的为空。"""

    limits: bytes = b""
    history: History | None = None

    def _exec_command(self, command: QueryNoTemplate, result_format: Format = Format.TEXT) -> PQGen[PGresult | None]:
        """BEGIN 与时限同一趟去。psycopg 没有公开的地方可挂，它的 BEGIN 都从这里发。"""
        if not (self.limits and isinstance(command, bytes) and command.startswith(b"BEGIN")):
            return (yield from super()._exec_command(command, result_format))
        if self.pgconn.pipeline_status != PipelineStatus.OFF:  # 管道里一句一条消息，本来就同一趟
            yield from super()._exec_command(command, result_format)
            return (yield from super()._exec_command(self.limits, result_format))
        self._check_connection_ok()
        self.pgconn.send_query(command + b"; " + self.limits)
        results: list[PGresult] = yield from generators.execute(self.pgconn)
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result, encoding=self.info.encoding)
        return results[0]


def _limits_to_send(connection: Connection) -> bytes:
    """这条语句要自己带去的；在事务里，或时限已在会话里，就是空。"""
    alone = connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE
    return connection.limits if alone and isinstance(connection, LimitedConnection) else b""


def _settings(config: Database, *, planned_once: bool, alone: bool) -> Mapping[str, str]:
    """服务器的设置 → 值的 SQL；时限是毫秒。"""
    seconds_by_name = {
        "statement_timeout": config.statement_timeout,
        "lock_timeout": config.lock_timeout,
        "idle_in_transaction_session_timeout": config.idle_in_transaction_timeout,
    }
    limits = {name: f"'{int(seconds * 1000)}'" for name, seconds in seconds_by_name.items()}
    planning = {name: f"'{value}'" for name, value in PLANNED_ONCE.items()} if planned_once else {}
    # 别的应用的发件箱在它自己的模式里；应用自己的表照它的 search_path 找
    theirs = "" if alone else "||', '||current_setting('search_path')"
    path = {"search_path": f"'\"{config.schema_name}\"'{theirs}"}
    return {**limits, **planning, **(path if config.schema_name else {})}


def has_several_hosts(url: str) -> bool:
    """主备都写在地址里。

    Raises:
        psycopg.ProgrammingError: 不是合法的地址。
    """
    given = conninfo_to_dict(url)
    return any("," in str(given.get(name) or "") for name in ("host", "hostaddr"))


def writable(url: str) -> str:
    """几个主机而没有说要哪一种的：要能写的那个，不论排在第几。

    Raises:
        psycopg.ProgrammingError: 不是合法的地址。
    """
    if not has_several_hosts(url) or conninfo_to_dict(url).get("target_session_attrs"):
        return url
    return make_conninfo(url, target_session_attrs="read-write")


def rotated(url: str) -> str:
    """几个主机的，头一个换到最后。"""
    given = {name: str(value).split(",") for name, value in conninfo_to_dict(url).items() if name in PLACES}
    return make_conninfo(url, **{name: ",".join([*parts[1:], parts[0]]) for name, parts in given.items()})


def connection_arguments(config: Database, process: str) -> dict[str, Any]:
    """Psycopg 的连接参数。``application_name`` 让每个进程、是哪个应用的，在 pg_stat_activity 里认得出来。

    没有 ``options``：连接池出厂就拒绝它，叫它别管，它又把里面的时限悄悄丢了。
    """
    return {
        "application_name": f"{config.namespace}-{process}",
        "connect_timeout": max(2, round(config.connect_timeout)),
        "keepalives_idle": config.keepalive_idle,
        "keepalives_interval": config.keepalive_interval,
        "keepalives_count": 3,
        "tcp_user_timeout": int(config.unacknowledged_timeout * 1000),
    }


async def open_connection(config: Database, role: str, *, alone: bool = False) -> LimitedConnection:
    """池外的一条连接（门铃、监听、命令），自动提交，时限在力。``alone`` 见 :func:`put_limits_in_force`。"""
    url = writable(config.url.get_secret_value())
    connection = await LimitedConnection.connect(url, autocommit=True, **connection_arguments(config, role))
    try:
        await put_limits_in_force(connection, config, alone=alone)
        connection.cursor_factory = LimitedCursor
    except BaseException:  # 连取消也要先关上：还没有人拿着它
        await connection.close()
        raise
    return connection


async def put_limits_in_force(
    connection: LimitedConnection, config: Database, *, planned_once: bool = False, alone: bool = False
) -> None:
    """刚连上时调用一次：问对面是谁，时限照着办；经连接池时再看预备语句用不用得。

    ``planned_once`` 见 :data:`PLANNED_ONCE`；条件时有时无的查询不合适。``alone``：只看别的应用自己的模式，
    那里没有的表（没有装、正看着就删了）不落到后面同名的上。
    """
    limits = _settings(config, planned_once=planned_once, alone=alone)
    in_session = " || ".join(f"set_config('{name}', {limit}, false)" for name, limit in limits.items())
    question = IS_DIRECT.format(settings=in_session)
    cursor = await connection.execute(question.encode(), {"pid": connection.info.backend_pid}, prepare=False)
    direct, cluster, timeline = await cursor.fetchone() or (False, 0, None)
    connection.history = timeline and History(str(cluster), timeline)
    if direct:
        return
    in_transaction = ", ".join(f"set_config('{name}', {limit}, true)" for name, limit in limits.items())
    connection.limits = f"select {in_transaction}".encode()
    if not (capabilities.has_send_close_prepared() and await _keeps_prepared(connection)):
        connection.prepare_threshold = None


async def _keeps_prepared(connection: LimitedConnection) -> bool:
    """连接池代不代管预备语句。在一个事务里试：服务器连接不会换，试过的也收得回。"""
    try:
        async with connection.transaction():
            cursor = await connection.execute(OWN_NAMES, prepare=True)
            names = [name for (name,) in await cursor.fetchall()]
            for name in names:
                await connection.execute(sql.SQL("deallocate {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicatePreparedStatement:  # 同名的已在这条服务器连接上：名字原样传了过去
        return False
    return not names
