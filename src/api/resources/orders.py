"""``/api/v1/orders``：订单的增查改删与状态机。"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Listing, ListQuery
from api.endpoints.patch import Optional, PatchModel
from api.endpoints.preconditions import etag, expected_version
from api.endpoints.reasons import reason
from api.endpoints.shapes import BigId, Choice, QueryId, RequestModel, View
from api.openapi import examples
from api.resources.audit import audited, audited_change
from api.resources.fields import Remark
from api.resources.users import CreatedUserView, UserIn, created_view, mail_outbox, new_user
from kaguan.audit.actions import ORDER_DELETE, ORDER_UPDATE
from kaguan.orders import service, store
from kaguan.orders.model import OrderStatus
from kaguan.tokens.service import ORDERS_READ as READ
from kaguan.tokens.service import ORDERS_WRITE as WRITE
from kaguan.tokens.service import USERS_WRITE as WRITE_USERS
from kaguan.users.service import NewUser
from kaguan.words.currency import CURRENCIES, DEFAULT_CURRENCY
from kaguan.words.errors import Code
from kaguan.words.wrong import PLAIN

TAG = "orders"
COLLECTION = "/api/v1/orders"
ITEM = COLLECTION + "/{id:int}"


def _currency(code: str) -> str:
    if code not in CURRENCIES:
        raise reason("应为 ISO 4217 货币代码，如 CNY", "must be an ISO 4217 currency code such as CNY")
    return code


OrderId = Annotated[str, Field(min_length=1, max_length=64, pattern=PLAIN)]
Currency = Annotated[str, Field(json_schema_extra={"enum": sorted(CURRENCIES)}), AfterValidator(_currency)]
Amount = Annotated[BigId, Field(description="最小货币单位的整数，如人民币的分")]


class OrderIn(RequestModel):
    """要建的订单：``user_id``（已有的用户）与 ``user``（同时新建）恰好给一个。"""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["user_id"]}, {"required": ["user"]}]})

    order_id: Optional[OrderId] = None
    user_id: Optional[BigId] = None
    user: Optional[UserIn] = None
    amount: Amount
    currency: Currency = DEFAULT_CURRENCY
    remark: Remark | None = None

    @model_validator(mode="after")
    def _one_owner(self) -> Self:
        if (self.user_id is None) == (self.user is None):
            raise reason("user_id 与 user 恰好给一个", "give exactly one of user_id and user")
        return self


class OrderPatch(PatchModel):
    """要改的字段；``remark`` 给 null 即清除。"""

    status: Optional[Choice[OrderStatus]] = None
    remark: Remark | None = None


class OrderQuery(ListQuery):
    """订单列表的条件。"""

    user_id: QueryId | None = None
    status: OrderStatus | None = None
    order_id: Annotated[str, Field(min_length=1, max_length=64, description="订单号，恰好是它")] | None = None


class OrderView(View):
    """一张订单。"""

    id: int
    order_id: str
    user_id: int
    amount: int
    currency: str
    status: OrderStatus
    remark: str | None
    version: int
    created_at: datetime
    updated_at: datetime


class CreatedOrderView(OrderView):
    """刚建的订单，和订单邮件的任务号；同时建了用户的，也在其中。"""

    order_task_id: UUID
    user: CreatedUserView | None


class OrderList(Listing[OrderView]):
    """一页订单。"""


async def _prepare_owner(call: Call[OrderIn, None]) -> NewUser | None:
    """同时建用户的，也要有建用户的权限。"""
    if call.body.user is None:
        return None
    call.principal.require(WRITE_USERS)
    return await new_user(call, call.body.user)


@endpoint(
    "POST",
    COLLECTION,
    scope=WRITE,
    summary="建订单，并发订单邮件；同时建用户（user）另需 users:write",
    tag=TAG,
    body=OrderIn,
    data=CreatedOrderView,
    headers=("Location", "ETag"),
    body_example=examples.ORDER_IN,
    example=examples.CREATED_ORDER,
    success=HTTPStatus.CREATED,
    errors=(Code.NOT_FOUND, Code.CONFLICT, Code.OVERLOADED),
    guards_backlog=True,
    prepare=_prepare_owner,
)
async def create_order(call: Call[OrderIn, None]) -> Answer:
    given = call.body
    new = service.NewOrder(given.amount, given.currency, given.order_id, given.remark)
    if call.prepared is not None:
        placed = await service.create_order_with_user(
            await call.unit.connection(), call.prepared, new, mail_outbox(call)
        )
    else:
        # 模型保证恰好给了一个
        user_id = given.user_id or 0
        placed = await service.create_order(await call.unit.connection(), user_id, new, mail_outbox(call))
    order = OrderView.model_validate(placed.order)
    view = CreatedOrderView(
        **order.model_dump(),
        order_task_id=placed.order_task,
        user=None if placed.owner is None else created_view(placed.owner),
    )
    return Answer(view, headers={"Location": f"{COLLECTION}/{order.id}", "ETag": etag(order.version)})


@endpoint("GET", COLLECTION, scope=READ, summary="列出订单", tag=TAG, query=OrderQuery, data=OrderList,
          example=examples.ORDERS)  # fmt: skip
async def list_orders(call: Call[None, OrderQuery]) -> Answer:
    query = call.query
    wanted = store.OrderFilter(query.user_id, query.status, query.order_id)
    page = await store.list_orders(await call.unit.connection(), query.request(), wanted)
    return Answer(OrderList.of(query, page))


@endpoint("GET", ITEM, scope=READ, summary="查订单", tag=TAG, data=OrderView, errors=(Code.NOT_FOUND,),
          headers=("ETag",), example=examples.ORDER)  # fmt: skip
async def get_order(call: Call[None, None]) -> Answer:
    order = await service.get_order(await call.unit.connection(), call.number("id"))
    return Answer(OrderView.model_validate(order), headers={"ETag": etag(order.version)})


@endpoint(
    "PUT",
    ITEM,
    scope=WRITE,
    summary="改订单的状态、备注；状态迁移会发邮件",
    tag=TAG,
    body=OrderPatch,
    data=OrderView,
    headers=("ETag",),
    body_example=examples.ORDER_PATCH,
    example=examples.CHANGED_ORDER,
    errors=(Code.NOT_FOUND, Code.CONFLICT, Code.PRECONDITION_FAILED, Code.OVERLOADED),
    guards_backlog=True,
)
async def update_order(call: Call[OrderPatch, None]) -> Answer:
    version = expected_version(call.request)
    given = call.body
    change = service.OrderChange(given.status, given.remark, sets_remark="remark" in given.model_fields_set)
    connection = await call.unit.connection()
    order = await service.update_order(connection, call.number("id"), change, version, mail_outbox(call))
    await audited_change(call, ORDER_UPDATE, str(order.id), order.version)
    return Answer(OrderView.model_validate(order), headers={"ETag": etag(order.version)})


@endpoint(
    "DELETE",
    ITEM,
    scope=WRITE,
    summary="删订单（软删除；订单号随即可再用）",
    tag=TAG,
    errors=(Code.NOT_FOUND, Code.PRECONDITION_FAILED),
)
async def delete_order(call: Call[None, None]) -> Answer:
    version = expected_version(call.request)
    await service.delete_order(await call.unit.connection(), call.number("id"), version, call.unit.after_commit)
    await audited(call, ORDER_DELETE, str(call.number("id")))
    return Answer()


ROUTES: tuple[Endpoint, ...] = (create_order, list_orders, get_order, update_order, delete_order)
