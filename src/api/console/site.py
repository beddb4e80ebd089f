"""这个控制台是谁的：名字、导航、任务类型、门房。产品的与别的应用的是同一批页面，不同的都从这里问。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from kaguan.audit.store import AuditEntry
from kaguan.database.pool import AfterCommit, Connection
from kaguan.outbox.task_type import TaskType
from kaguan.sessions.service import SignedIn
from kaguan.tokens.service import Principal
from kaguan.words.errors import DomainError


@dataclass(frozen=True, slots=True)
class Link:
    """导航里的一项：``name`` 是它的页面与 ``nav`` 里的键；``scopes`` 里一样也没有的人看不见它，空的谁都看得见。"""

    name: str
    href: str
    apart: bool = False
    scopes: frozenset[str] = frozenset()

    def is_for(self, principal: Principal) -> bool:
        return not self.scopes or any(principal.may(scope) for scope in self.scopes)


class Porter(Protocol):
    """门房：认得来的人，记下做过的事。"""

    @property
    def cookie(self) -> str:
        """会话的 cookie 叫什么；同一台机器上几个控制台只差端口，浏览器却不分端口。"""

    async def signed_in(self, secret: str, *, touch: bool) -> SignedIn | None:
        """会话 cookie 里的值是谁的；它来自外面。``touch``：这次请求算不算人的活动。"""

    async def identify(self, token: str | None) -> Principal:
        """带着令牌来的工具是谁。

        Raises:
            DomainError: 1002。
        """

    async def note(
        self,
        connection: Connection,
        entry: AuditEntry,
        principal: Principal | None,
        request_id: str,
        after_commit: AfterCommit,
    ) -> None:
        """留痕，与操作同一事务。"""

    async def note_refusal(
        self,
        principal: Principal | None,
        name: str,
        target: str | None,
        error: DomainError,
        request_id: str,
        **detail: str,
    ) -> None:
        """被拒的也留痕：操作的事务已回滚，另记一笔。``target`` 与 ``detail`` 可以是地址里没有核对过的文字。"""


@dataclass(frozen=True, slots=True)
class Site:
    """``name`` 是别的应用的名字，产品自己的为空；``types`` 给出筛选里列的任务类型，``known`` 是懂得怎么摘要的那些。"""

    name: str
    links: tuple[Link, ...]
    porter: Porter
    types: Callable[[Connection], Awaitable[Sequence[str]]]
    known: tuple[TaskType[Any], ...] = ()


SITE = web.AppKey("SITE", Site)
