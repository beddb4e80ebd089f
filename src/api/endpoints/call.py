"""处理函数看到的请求（:class:`Call`）与给出的答案（:class:`Answer`）。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from aiohttp import web

from api.endpoints.unit_of_work import UnitOfWork
from api.http.context import context_of
from api.http.keys import SERVICES, Services
from kaguan.tokens.service import Principal

B = TypeVar("B")
Q = TypeVar("Q")


@dataclass(slots=True)
class Answer:
    """成功的答案：``data`` 进信封。``status`` 不给就用路由声明的那个；``wordless`` 见 :class:`Context`。"""

    data: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wordless: bool = False


@dataclass(slots=True)
class Call(Generic[B, Q]):
    """一次已通过认证与校验的调用。

    Attributes:
        body: 请求体模型的实例；路由没有声明就是 None。
        query: 查询参数模型的实例；同上。
        path: 路径参数，已按模板里的类型转换。
        unit: 本次调用的工作单元；提交由端点层做，处理函数从不提交。
        prepared: 路由声明的 ``prepare`` 的结果。
    """

    request: web.Request
    principal: Principal
    body: B
    query: Q
    path: Mapping[str, Any]
    unit: UnitOfWork
    prepared: Any = None

    @property
    def services(self) -> Services:
        return self.request.app[SERVICES]

    @property
    def request_id(self) -> str:
        return context_of(self.request).request_id

    @property
    def language(self) -> str:
        return context_of(self.request).language

    def number(self, name: str) -> int:
        """路径里的 bigint 参数（模板 ``{name:int}``）。

        Raises:
            TypeError: 模板里的不是这一种。
        """
        value = self.path[name]
        if not isinstance(value, int):
            raise TypeError(name)
        return value

    def uuid(self, name: str) -> UUID:
        """路径里的 UUID 参数（模板 ``{name:uuid}``）。

        Raises:
            TypeError: 模板里的不是这一种。
        """
        value = self.path[name]
        if not isinstance(value, UUID):
            raise TypeError(name)
        return value

    def text(self, name: str) -> str:
        """路径里的文本参数（模板 ``{name:str}``）。"""
        return str(self.path[name])
