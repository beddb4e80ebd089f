"""声明一条路由：路径、权限、请求与应答的形状。路由、校验、文档都从这一处生成。

写法::

    @endpoint(
        "POST", "/api/v1/users", scope="users:write", summary="新建用户", tag="users",
        body=CreateUser, data=UserView, success=201, headers=("Location",), errors=(Code.CONFLICT,),
    )
    async def create_user(call: Call[CreateUser, None]) -> Answer:
        connection = await call.unit.connection()  # 惰性开启的事务；由端点层提交
        ...
        call.unit.after_commit(call.services.ring)  # 暂存过任务就按门铃
        return Answer(view, headers={"Location": f"/api/v1/users/{view.id}"})

    ROUTES: tuple[Endpoint, ...] = (create_user,)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias, TypedDict, Unpack

from aiohttp import web
from pydantic import BaseModel

from api.endpoints.call import Answer, Call
from api.endpoints.unit_of_work import Mode
from kaguan.words.errors import Code
from kaguan.words.units import KIB

Handler: TypeAlias = "Callable[[Call[Any, Any]], Awaitable[Answer | web.StreamResponse]]"
Preparation: TypeAlias = "Callable[[Call[Any, Any]], Awaitable[Any]]"

# UUID 必有连字符，卡号必有数字：全是小写字母的那一段是别的路径（/tasks/email），该由它说收什么方法
NOT_A_WORD = r"[^/]*[^/a-z][^/]*"
NEVER_WORDS = {"uuid", "number"}
PATH_PARAMETER = re.compile(r"\{(\w+):(int|uuid|number|str)\}")
BODY_LIMIT = 64 * KIB  # 字节
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Options(TypedDict, total=False):
    """:func:`endpoint` 的可选项，含义见 :class:`Endpoint`。"""

    body: type[BaseModel]
    body_limit: int | None
    query: type[BaseModel]
    data: Any
    success: int
    other_success: tuple[int, ...]
    errors: tuple[Code, ...]
    idempotent: bool
    prepare: Preparation
    produces: str
    guards_backlog: bool
    headers: tuple[str, ...]
    example: Any
    body_example: Any
    body_document: Any
    csv: str


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """一条路由。

    Attributes:
        path: 模板，参数写作 ``{name:int}``（bigint，1 起）、``{name:uuid}``、``{name:number}``
            （文本，不会全是小写字母）或 ``{name:str}``。
        scope: 所需权限；None 表示不用认证（必须明写，没有默认）。
        other_success: 处理函数可能改用的其他成功状态，进文档。
        errors: 除通用错误之外会给出的错误码，进文档。
        idempotent: 是否接受 ``Idempotency-Key``。
        body_limit: 字节；装得下最大的合法请求体即可。None 表示只受 ``api.body_limit`` 限制，它也总是封顶。
            骨架（括号、键、逗号）的上限由 ``body``（或 ``body_document``）推出，见 :mod:`api.endpoints.structure`。
        prepare: 处理之前、没有占着连接时先做的慢事（散列口令）；结果是 ``call.prepared``。
        produces: 成功应答的媒体类型；不是 JSON 的路由自己构造应答，不套信封。
        headers: 成功应答必带的响应头（每条路由都有的除外），进文档。
        example: 成功应答的例子：JSON 的是 ``data``，其余是原文；``body_example`` 是请求体的。
        body_document: 文档里的请求体形状，与 ``body`` 不同时才给（逐项校验的批量）。
        guards_backlog: 会新增任务；积压超限时回 503/2003。
        csv: 也答 CSV（见 :mod:`api.endpoints.negotiation`）的，CSV 的例子；由处理函数自己构造。
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    summary: str
    tag: str
    body: type[BaseModel] | None = None
    body_limit: int | None = BODY_LIMIT
    query: type[BaseModel] | None = None
    data: Any = None
    success: int = HTTPStatus.OK
    other_success: tuple[int, ...] = ()
    errors: tuple[Code, ...] = ()
    idempotent: bool = False
    prepare: Preparation | None = None
    mode: Mode = Mode.AUTOCOMMIT
    produces: str = "application/json"
    guards_backlog: bool = False
    headers: tuple[str, ...] = ()
    example: Any = None
    body_example: Any = None
    body_document: Any = None
    csv: str = ""

    @property
    def pattern(self) -> str:
        """OpenAPI 用的路径：``/users/{id}``。"""
        return PATH_PARAMETER.sub(r"{\1}", self.path)

    @property
    def router_path(self) -> str:
        """Aiohttp 路由器用的路径。"""
        return PATH_PARAMETER.sub(
            lambda match: f"{{{match[1]}:{NOT_A_WORD}}}" if match[2] in NEVER_WORDS else f"{{{match[1]}}}", self.path
        )

    @property
    def parameters(self) -> dict[str, str]:
        """路径参数名 → 类型（int、uuid、number、str）。"""
        return dict(PATH_PARAMETER.findall(self.path))

    @property
    def may_repeat(self) -> bool:
        """连接断在半途时可以再答一次：只读，应答还没有开始写。"""
        return self.method == "GET" and self.produces == "application/json"

    @property
    def name(self) -> str:
        """OpenAPI 的 operationId，也是幂等指纹的一部分。"""
        return self.handler.__name__


def endpoint(
    method: str,
    path: str,
    *,
    scope: str | None,
    summary: str,
    tag: str,
    mode: Mode | None = None,
    **options: Unpack[Options],
) -> Callable[[Handler], Endpoint]:
    """装饰处理函数，得到一个 :class:`Endpoint`；放进模块的 ``ROUTES`` 才会被注册。

    写方法默认在一个事务里运行，读方法默认自动提交。其余选项见 :class:`Endpoint`。
    """
    chosen = mode or (Mode.TRANSACTION if method in WRITES else Mode.AUTOCOMMIT)
    options.setdefault("idempotent", method == "POST")

    def declare(handler: Handler) -> Endpoint:
        return Endpoint(method, path, handler, scope, summary, tag, mode=chosen, **options)

    return declare
