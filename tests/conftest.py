"""全部测试共用的真实服务器：一个 PostgreSQL、一个 Valkey，每个用例一份模板库的副本。"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import psycopg
import pytest
import redis
import redis.utils
from hypothesis import settings as examples
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kaguan.config import Settings, load_settings
from kaguan.database.migrate import upgrade
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.postgres import ROLE, PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.valkey import ValkeyServer
from kaguan.telemetry.sampling import FaultSampler
from tests.support import judging, order, warm
from tests.support.access_log import AccessLines
from tests.support.eventually import PATIENT, WHOLE_TEST
from tests.support.measured import mark_measured, measuring
from tests.support.places import own_port, temporary_place
from tests.support.pooler import NO_PREPARED, Pooler
from tests.support.servers import DISPOSABLE, RECORDING, TEMPLATE, alone, in_memory_only, running, told
from tests.support.serving import Api, serving
from tests.support.tracing import Tracing
from tests.support.untraced import untraced

REDIS_DATABASES = itertools.cycle(range(1, 64))
SEQUENCE = itertools.count(1)
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
BEHIND_POOLER = os.environ.get("TEST_POOLER") == "1"  # make prove P=pooler：每个用例的库都经 PgBouncer


def pytest_configure(config: pytest.Config) -> None:
    os.environ["LC_ALL"] = "C.UTF-8"  # 命令说的话照终端的语言；用例各要各的
    # redis-py 每建一条连接都把自己的 METADATA 解析一遍
    redis.utils.get_lib_version = cache(redis.utils.get_lib_version)
    if config.getoption("numprocesses", None):
        sys.settrace(None)  # 分活的进程自己不跑用例，不量它的覆盖率
    config.pluginmanager.import_plugin("tests.support.readable")
    config.pluginmanager.import_plugin("tests.support.leaks")
    # 一个例子跑多久看机器，不是被测的性质
    examples.register_profile("any-host", examples.get_profile(examples.get_current_profile_name()), deadline=None)
    examples.load_profile("any-host")
    config.addinivalue_line("markers", "measured: 它起的进程也量覆盖率；别处没有走到的路才值得")
    config.addinivalue_line("markers", "direct(reason): 只能直连；make prove P=pooler 时跳过")
    config.addinivalue_line("markers", "unjudged(reason): 它的历史不判，缘由多半是用例自己动手改了任务")
    config.addinivalue_line("markers", "protocol(rules): 判历史的规则，见 tests.model.history.Rules")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order.in_running_order(items)
    limit = config.getoption("timeout")  # 命令行给了的，以它为准：几千个例子的模拟要跑半个小时
    for item in items:
        item.add_marker(pytest.mark.timeout(WHOLE_TEST if limit is None else limit))
    mark_measured(items)
    if BEHIND_POOLER:
        for item in items:
            for marker in item.iter_markers("direct"):
                item.add_marker(pytest.mark.skip(reason=marker.args[0]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """用例与源码的模块活到最后：垃圾回收不必一遍遍地看，收集时不看，之后也不看它们。"""
    gc.disable()
    try:
        with nullcontext() if WORKER == "gw0" else untraced():  # 导入时走的，各进程一样：量一个就够
            return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if config.getvalue("dist") != "loadscope":
        return None
    from tests.support.spreading import Spreading

    return Spreading(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for group in terminalreporter.stats.values() for one in group if isinstance(one, pytest.TestReport)]
    terminalreporter.write_line(judging.summary(reports))
    if order.WRITE:
        order.write(reports)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with measuring(item):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """起在用例之前：它不是头一个用到它的用例漏下的。"""
    warm.interpreter()


@pytest.fixture(scope="session", autouse=True)
def tracing() -> Tracing:
    """本进程的跟踪；全局的提供者只能设一次。"""
    tracing = Tracing()
    trace.set_tracer_provider(tracing.provider)
    return tracing


@pytest.fixture
def exported(tracing: Tracing) -> Iterator[InMemorySpanExporter]:
    """全部采样；送出去的跨度。"""
    with tracing.recording(FaultSampler(1.0)) as exporter:
        yield exporter


@pytest.fixture
def faults(tracing: Tracing) -> Iterator[InMemorySpanExporter]:
    """新的跟踪一条也不采样；照样送出去的跨度。"""
    with tracing.recording(FaultSampler(0.0)) as exporter:
        yield exporter


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """服务器数据的临时目录。"""
    with temporary_place("tests") as directory:
        yield directory


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(
        servers_directory / "postgres",
        servers_directory / "postgres-password",
        own_port(),
        identity=server_identity(),
    )
    asyncio.run(server.prepare())
    with running(told(server.program(), DISPOSABLE), servers_directory / "postgres.log"):
        yield server


@pytest.fixture(scope="session")
def valkey_server(servers_directory: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(
        servers_directory / "valkey",
        servers_directory / "valkey-password",
        own_port(),
        identity=server_identity(),
    )
    server.prepare()
    with running(in_memory_only(server.program()), servers_directory / "valkey.log"):
        yield server


@pytest.fixture(scope="session")
def admin(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    """超级用户的同步连接，用来建、删每个用例的库；模板库只迁移一次。"""
    with psycopg.connect(postgres_server.admin_url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER {ROLE}")
        upgrade(postgres_server.url_of(TEMPLATE))
        psycopg.connect(postgres_server.url_of(TEMPLATE)).close()  # 目录的缓存随模板抄走，不必各自再建
        yield connection


@pytest.fixture(scope="session")
def pooler(postgres_server: PostgresServer, servers_directory: Path) -> Iterator[Pooler]:
    """出厂的 PgBouncer，事务池。"""
    with Pooler(servers_directory / "pooler", postgres_server.url).serving() as running_pooler:
        yield running_pooler


@pytest.fixture(scope="session")
def plain_pooler(postgres_server: PostgresServer, servers_directory: Path) -> Iterator[Pooler]:
    """不代管预备语句的：1.21 之前都是这样。"""
    plain = Pooler(servers_directory / "plain-pooler", postgres_server.url, NO_PREPARED)
    with plain.serving() as running_pooler:
        yield running_pooler


@pytest.fixture(scope="session")
def recording(postgres_server: PostgresServer, admin: psycopg.Connection) -> str:
    """记历史的模板库。"""
    alone(admin, f"CREATE DATABASE {RECORDING} TEMPLATE {TEMPLATE} OWNER {ROLE} STRATEGY FILE_COPY")
    judging.install(postgres_server.url_of(RECORDING))
    return RECORDING


@pytest.fixture(scope="session")
def judge() -> Iterator[judging.Judge]:
    """判历史的；模型编译一次，认得的形状不再问它。"""
    found = judging.load()
    yield found
    if judging.WRITE:
        judging.write((*judging.stored()[1], *found.fresh))


@pytest.fixture
def direct_url(
    postgres_server: PostgresServer, admin: psycopg.Connection, judge: judging.Judge, request: pytest.FixtureRequest
) -> Iterator[str]:
    """一份刚迁移好的空库，本用例独占；总是直连。走完全程的用例，末了判它的历史。"""
    name, judged = f"test_{next(SEQUENCE)}", judging.is_judged(request.node)
    template = request.getfixturevalue("recording") if judged else TEMPLATE
    alone(admin, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {ROLE} STRATEGY FILE_COPY")
    url = postgres_server.url_of(name)
    yield url
    refused = judging.judged(request.node, url, judge) if judged else []
    alone(admin, f"DROP DATABASE {name} WITH (FORCE)")
    assert refused == []


@pytest.fixture
def database_url(direct_url: str, request: pytest.FixtureRequest) -> str:
    """同上；`make prove P=pooler` 时经 PgBouncer。"""
    return request.getfixturevalue("pooler").url_of(direct_url) if BEHIND_POOLER else direct_url


@pytest.fixture(scope="session")
def valkey_admin(valkey_server: ValkeyServer) -> Iterator[redis.Redis]:
    """一条连接，用来清空各库。"""
    with redis.Redis.from_url(valkey_server.url_of(0), single_connection_client=True) as client:
        yield client


@pytest.fixture
def redis_url(valkey_server: ValkeyServer, valkey_admin: redis.Redis) -> str:
    """一个清空的 Redis 库，本用例独占。"""
    database = next(REDIS_DATABASES)
    valkey_admin.select(database)
    valkey_admin.flushdb()
    valkey_admin.select(0)  # 不占着用例的库：有的用例数那里的连接
    return valkey_server.url_of(database)


@pytest.fixture
def environ(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """指向本用例服务器的环境变量；用例可以先加几个键再 ``load_settings``。"""
    return {
        "KAGUAN_ENV": "dev",
        "KAGUAN_DATA_DIR": str(tmp_path),
        "KAGUAN_DATABASE__URL": database_url,
        "KAGUAN_DATABASE__POOL_MIN": "1",
        "KAGUAN_DATABASE__POOL_MAX": "5",
        "KAGUAN_REDIS__URL": redis_url,
        "KAGUAN_API__BCRYPT_ROUNDS": "4",
        "KAGUAN_API__LOGIN_PER_MINUTE": "1000",  # 一个用例里登录几十次的，考的不是它
        **PATIENT,
    }


@pytest.fixture
def brief_locks(environ: dict[str, str]) -> None:
    """等锁照出厂的一秒：等不到锁的用例不久等。"""
    environ["KAGUAN_DATABASE__LOCK_TIMEOUT"] = "1"


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return load_settings(environ)


@pytest.fixture
def access_lines(tmp_path: Path) -> AccessLines:
    return AccessLines(tmp_path / "logs" / "access.log")


@pytest.fixture
async def logged_api(environ: dict[str, str], access_lines: AccessLines) -> AsyncIterator[Api]:
    """一个运行中的应用，访问日志写到 ``access_lines`` 读的文件。"""
    settings = load_settings({**environ, "KAGUAN_LOGGING__DIRECTORY": str(access_lines.path.parent)})
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with open_pool(settings.database, "test", planned_once=True) as opened:
        yield opened


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """一个没有迁移过的库。"""
    url = settings.database.url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("create database shop")
        yield url.rpartition("/")[0] + "/shop"
        # 不用 force：自动清理正在里面时，应用的角色无权终结它；不用，PostgreSQL 自己请它走
        alone(admin, "drop database shop")
