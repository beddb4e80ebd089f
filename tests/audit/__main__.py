"""``python -m tests.audit 某处/sqlmap``：sqlmap 逐条路由打真实的 API。退出码 1 即找到了洞，或者连对照的洞也找不到。

每条路由的路径参数、查询参数、请求体的每个字段；请求照路由表与文档里的例子造。sqlmap 说的话留在 ``dist/sqlmap``。
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp

from api.endpoints.endpoint import Endpoint
from api.openapi.examples import ICCID
from api.routes import ROUTES
from tests.attacks.target import attacked, issue_token
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.processes import running
from tests.bench.scale import SHORT
from tests.support.eventually import eventually
from tests.support.fault_plant import local
from tests.support.places import own_port
from tests.support.repository import ROOT

FOUND = "sqlmap identified the following injection point"
TRIED = "all tested parameters do not appear to be injectable"
CLEAN = "干净"
ORDER = ("POST", "GET", "PUT", "DELETE")  # 先造出来，最后才删：删光了，别的都是 404
LIMIT = 600.0  # 秒，一次 sqlmap
PATHS = {
    "id": "1*",
    "iccid": f"{ICCID}*",
    "task_id": "01989f2e-0000-7000-8000-000000000001*",
    "name": "x*",
}
QUERY = {
    "page_size": ("20",), "page": ("1",), "sort": ("-id", "-created_at"),
    "since": ("2026-01-01T00:00:00Z",), "until": ("2099-01-01T00:00:00Z",),
    "start_date": ("2026-01-01",), "end_date": ("2026-01-02",),
    "status": ("active", "pending"), "lifecycle_state": ("active", "activated"), "carrier": ("onelink",),
    "username": ("zhang.san",), "email": ("zhang.san@example.com",), "user_id": ("1",), "order_id": ("A-1",),
    "msisdn": ("8613800138000",), "imsi": ("460040123456789",),
    "type": ("email:send",), "queue": ("default",), "request_id": ("r",), "ordering_key": ("k",),
}  # fmt: skip
OPTIONS = (
    "--batch",
    "--disable-coloring",
    "--flush-session",
    "--dbms=PostgreSQL",
    "--level=2",
    "--risk=1",
    "--threads=4",
    "--time-sec=2",
    "--ignore-code=*",
    "--skip=User-Agent,Referer,Host,Cookie",
)


@dataclass(frozen=True, slots=True)
class Shot:
    """打一条路由的一处：路径（``*`` 标着打哪里）、查询或请求体。"""

    name: str
    method: str
    path: str
    body: Any = None


async def shots(route: Endpoint, client: aiohttp.ClientSession) -> list[Shot]:
    """查询打两次：答得成的一起，才走得到语句；凑不出答得成的值的另打。"""
    plain = route.pattern.format(**{name: text.rstrip("*") for name, text in PATHS.items()})
    name, found = f"{route.method} {route.pattern}", list[Shot]()
    if route.body is not None:
        found.append(Shot(f"{name} 请求体", route.method, plain, route.body_example))
    if plain != route.pattern:
        found.append(Shot(f"{name} 路径", route.method, route.pattern.format(**PATHS)))
    fields = [] if route.query is None else list(route.query.model_fields)
    good = await answered(client, plain, fields)
    rest = {field: "1" for field in fields if field not in good}
    for what, query in (("查询", good), ("其余的查询", rest)):
        if query:
            found.append(Shot(f"{name} {what}", route.method, f"{plain}?{urlencode(query)}"))
    return found


async def answered(client: aiohttp.ClientSession, path: str, fields: list[str]) -> dict[str, str]:
    """一个个地加，仍答 200 的才留。"""
    good: dict[str, str] = {}
    for name in fields:
        for value in QUERY.get(name, ()):
            async with client.get(path, params={**good, name: value}) as answer:
                if answer.status == 200:
                    good[name] = value
                    break
    return good


async def fire(sqlmap: Path, shot: Shot, address: str, token: str, output: Path) -> str:
    """打完返回 sqlmap 说的话，也留在 ``output`` 里。"""
    headers = f"Authorization: Bearer {token}\nContent-Type: application/json"
    body = () if shot.body is None else (f"--data={json.dumps(shot.body)}",)
    process = await asyncio.create_subprocess_exec(
        str(sqlmap),
        f"--url={address}{shot.path}",
        f"--method={shot.method}",
        f"--headers={headers}",
        *body,
        *OPTIONS,
        f"--output-dir={output}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(LIMIT):
        said = (await process.communicate())[0].decode("utf-8", "replace").replace(token, "…")
    (output / f"{shot.name.replace('/', '_')}.txt").write_text(said, "utf-8")
    return said


async def sees_a_hole(sqlmap: Path, laboratory: Laboratory, output: Path) -> bool:
    port = own_port()
    holed = laboratory.module(
        "holed",
        "tests.audit.holed",
        str(port),
        environment={"HOLED_DATABASE_URL": laboratory.database_url(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )
    async with running(holed, laboratory.directory):
        await eventually(lambda: listens(port))
        said = await fire(sqlmap, Shot("对照", "GET", "/?name=x"), local(port), "none", output)
    return FOUND in said


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def judged(said: str) -> str:
    return "有洞" if FOUND in said else CLEAN if TRIED in said else "没有打成"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(sqlmap: Path, only: str) -> int:
    output = ROOT / "dist" / "sqlmap"
    output.mkdir(parents=True, exist_ok=True)
    broken: list[str] = []
    async with open_laboratory(SHORT) as laboratory:
        token = await issue_token(laboratory)
        if not await sees_a_hole(sqlmap, laboratory, output):
            broken.append("对照的洞没有找到")
        async with attacked(laboratory, token, ROOT) as target:
            headers = {"Authorization": f"Bearer {token}"}
            async with aiohttp.ClientSession(local(target.port), headers=headers) as client:
                chosen = [route for route in ROUTES if route.scope is not None and only in route.pattern]
                for route in sorted(chosen, key=lambda one: ORDER.index(one.method)):
                    for shot in await shots(route, client):
                        verdict = judged(await fire(sqlmap, shot, local(target.port), token, output))
                        say(f"{shot.name}：{verdict}")
                        if verdict != CLEAN:
                            broken.append(shot.name)
    say(f"不干净的：{broken or '没有'}")
    return int(bool(broken))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.audit", description="sqlmap 逐条路由打真实的 API")
    parser.add_argument("sqlmap", type=Path, help="sqlmap 在哪里")
    parser.add_argument("--only", default="", metavar="文字", help="只打路径里有这段文字的")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.sqlmap, options.only)))
