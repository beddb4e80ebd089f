"""埋秘密：记号的样子，与照路由表造出来的请求——新加的路由不必点名也在其中。

每个收文本的字段、查询参数、路径参数都埋一个自己的记号：名字就是秘密的埋光秃秃的，别的埋成令牌的样子（``kg_…``），
有人会把令牌粘错地方。
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from api.endpoints.endpoint import Endpoint
from api.routes import ROUTES
from kaguan.config import Settings
from kaguan.words.secret_names import is_secret

PREFIX = "cAnArYcAnArY"  # 长得够在每一种 base64 里都有一段认得出
EXAMPLES: dict[str, Any] = {route.body.__name__: route.body_example for route in ROUTES if route.body is not None}
PATHS = {"int": "1", "uuid": "01989f2e-0000-7000-8000-000000000001"}
BATCH = "/api/v1/tasks/batch"
# 业务的数据按契约就存在这些表里；名字就是秘密的哪里也不许在
MAIL = {"tb_task", "tb_email_delivery"}
HOMES = {
    "users": {"tb_user", *MAIL},
    "orders": {"tb_user", "tb_order", *MAIL},
    "sims": {"tb_sim", "tb_sim_profile", "tb_sim_change"},
    "pauses": {"tb_pause"},
    "limits": {"tb_limit"},
    "workers": {"tb_drain"},
    "tasks": {"tb_ordering", *MAIL},
}

Step = str | int


def marker(name: str) -> str:
    """字母与数字，各不相同，一眼看得出埋在哪里。"""
    return f"{PREFIX}{re.sub('[^a-z0-9]', '', name.lower())}Zq7"


@dataclass(slots=True)
class Planted:
    """埋下的记号，和各自许在的表；``of`` 给出要埋的那一个。"""

    homes: dict[str, set[str]] = field(default_factory=dict)

    def of(self, name: str, *homes: str) -> str:
        self.homes[name] = set(homes)
        return marker(name)


@dataclass(frozen=True, slots=True)
class Leaf:
    """请求体里的一个文本。``loose``：什么样的文本都也许收下；枚举、日期之类的不收。"""

    path: tuple[Step, ...]
    loose: bool
    email: bool


def leaves(schema: Mapping[str, Any], named: Mapping[str, Any], path: tuple[Step, ...] = ()) -> Iterator[Leaf]:
    """JSON Schema 里的每个文本；列表取第一项，几选一的各走一遍。"""
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from leaves(alternative, named, path)
    for name, below in schema.get("properties", {}).items():
        yield from leaves(below, named, (*path, name))
    if "items" in schema:
        yield from leaves(schema["items"], named, (*path, 0))
    if schema.get("type") == "string":
        form = schema.get("format")
        strict = "enum" in schema or "const" in schema or form in {"date", "date-time", "uuid"}
        yield Leaf(path, not strict, form == "email")


def put(body: Any, path: tuple[Step, ...], value: str) -> Any:
    """``body`` 的 ``path`` 处换成 ``value``；没有的一层用那个模型自己的例子（``user`` 取代 ``user_id``）。"""
    here, *rest = path
    if isinstance(here, int):
        return [put(body[0] if body else {}, tuple(rest), value) if rest else value]
    inner = body.get(here) or EXAMPLES.get(f"{here.capitalize()}In", {})
    kept = {name: held for name, held in body.items() if name != f"{here}_id"}
    return {**kept, here: put(inner, tuple(rest), value) if rest else value}


def bodies(planted: Planted, route: Endpoint) -> Iterator[Any]:
    """例子，能埋的都埋上；再一个一个地埋。"""
    model = route.body_document or route.body
    if model is None:
        return
    schema = model.model_json_schema()
    found = list(dict.fromkeys(leaves(schema, schema.get("$defs", {}))))
    assert found, route.name

    def planting(body: Any, leaf: Leaf, how: str) -> Any:
        secret = is_secret(str(leaf.path[-1]))
        where = "".join(str(step) for step in leaf.path if isinstance(step, str))
        value = planted.of(f"{route.name[-8:]}{where}{how}", *(() if secret else HOMES.get(route.tag, ())))
        return put(body, leaf.path, (value if secret else f"kg_{value}") + ("@example.com" if leaf.email else ""))

    whole = deepcopy(route.body_example)
    for leaf in found:
        whole = planting(whole, leaf, "") if leaf.loose else whole
    yield whole
    for leaf in found:
        yield planting(deepcopy(route.body_example), leaf, "1")


def addresses(planted: Planted, route: Endpoint) -> Iterator[str]:
    """路径，每个文本的参数埋一个；每个查询参数、多余的一个，各埋一个。"""
    texts = [name for name, kind in route.parameters.items() if kind == "str"]
    plain = route.pattern.format(**{name: PATHS.get(kind, "x") for name, kind in route.parameters.items()})
    if texts:
        given = {name: f"kg_{planted.of(f'{route.name}path{name}')}" for name in texts}
        yield route.pattern.format(**given)
    queries = [] if route.query is None else list(route.query.model_fields)
    for name in (*queries, "token"):
        yield f"{plain}?{name}=kg_{planted.of(f'{route.name}query{name}')}"


def generated(planted: Planted, known: Mapping[str, str]) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """每条路由：方法、路径、头、正文。``known`` 是认得的来人。"""
    for route in ROUTES:
        for address in addresses(planted, route):
            yield route.method, address, dict(known), b""
        plain = route.pattern.format(**{name: PATHS.get(kind, "x") for name, kind in route.parameters.items()})
        for body in bodies(planted, route):
            yield route.method, plain, dict(known), json.dumps(body).encode()
            if route.example.keys() >= {"task_id", "replayed"}:  # 单个任务的，也放进一批里
                batch = {"tasks": [{"type": route.example["type"], **body}]}
                yield "POST", BATCH, dict(known), json.dumps(batch).encode()


def secret_settings(model: type[BaseModel] = Settings, prefix: str = "KAGUAN_") -> Iterator[str]:
    """配置里每个 ``SecretStr`` 的环境变量；列表里的项写作 ``NAME[].KEY``。"""
    for name, about in model.model_fields.items():
        key = f"{prefix}{name.upper()}"
        kinds = (about.annotation, *get_args(about.annotation))
        if SecretStr in kinds:
            yield key
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secret_settings(kind, f"{key}__" if kind is about.annotation else f"{key}[].")
