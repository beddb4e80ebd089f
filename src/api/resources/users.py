"""``/api/v1/users``：用户的增查改删。应答里从不出现口令。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, Field, SecretStr

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Listing, ListQuery
from api.endpoints.patch import Optional, PatchModel
from api.endpoints.preconditions import etag, expected_version
from api.endpoints.reasons import reason
from api.endpoints.shapes import Choice, RequestModel, View
from api.http.keys import SETTINGS
from api.openapi import examples
from api.resources.audit import audited, audited_change
from api.resources.fields import Address
from kaguan.audit.actions import USER_DELETE, USER_UPDATE
from kaguan.mail.staging import MailOutbox
from kaguan.tokens.service import USERS_READ as READ
from kaguan.tokens.service import USERS_WRITE as WRITE
from kaguan.users import service, store
from kaguan.users.model import UserStatus
from kaguan.users.password import PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARACTERS, PasswordHasher, check_password
from kaguan.words.errors import Code, DomainError
from kaguan.words.wrong import PLAIN

TAG = "users"
COLLECTION = "/api/v1/users"
ITEM = COLLECTION + "/{id:int}"

HASHER = web.AppKey("HASHER", PasswordHasher)


async def password_hashing(app: web.Application) -> AsyncIterator[None]:
    """散列执行器的一生（``app.cleanup_ctx``）。"""
    config = app[SETTINGS].api
    with PasswordHasher(config.bcrypt_rounds, config.bcrypt_concurrency, config.bcrypt_queue) as hasher:
        app[HASHER] = hasher
        yield


def _password(secret: SecretStr) -> SecretStr:
    try:
        check_password(secret.get_secret_value())
    except DomainError as error:
        raise reason(error.fields[0].zh, error.fields[0].en) from None
    return secret


Username = Annotated[str, Field(min_length=3, max_length=50, pattern=PLAIN)]
Password = Annotated[
    SecretStr,
    Field(
        description=f"至少 {PASSWORD_MIN_CHARACTERS} 个字符，按 UTF-8 至多 {PASSWORD_MAX_BYTES} 字节",
        json_schema_extra={"minLength": PASSWORD_MIN_CHARACTERS, "maxLength": PASSWORD_MAX_BYTES},
    ),
    AfterValidator(_password),
]


class UserIn(RequestModel):
    """要建的用户。"""

    username: Username
    email: Address
    password: Password


class UserPatch(PatchModel):
    """要改的字段。"""

    email: Optional[Address] = None
    status: Optional[Choice[UserStatus]] = None
    password: Optional[Password] = None


class UserQuery(ListQuery):
    """用户列表的条件。"""

    status: UserStatus | None = None
    username: Annotated[str, Field(min_length=1, max_length=50, description="恰好是它，不分大小写")] | None = None
    email: Annotated[str, Field(min_length=1, max_length=254, description="恰好是它，不分大小写")] | None = None


class UserView(View):
    """一个用户。"""

    id: int
    username: str
    email: str
    status: UserStatus
    version: int
    created_at: datetime
    updated_at: datetime


class CreatedUserView(UserView):
    """刚建的用户，和欢迎邮件的任务号。"""

    welcome_task_id: UUID


class UserList(Listing[UserView]):
    """一页用户。"""


def created_view(created: service.CreatedUser) -> CreatedUserView:
    user = UserView.model_validate(created.user)
    return CreatedUserView(**user.model_dump(), welcome_task_id=created.welcome_task)


async def new_user(call: Call[Any, Any], given: UserIn) -> service.NewUser:
    """散列口令；要在碰数据库之前做（``prepare``），免得占着连接等。"""
    password_hash = await call.request.app[HASHER].hash(given.password.get_secret_value())
    return service.NewUser(given.username, given.email, password_hash)


def mail_outbox(call: Call[Any, Any]) -> MailOutbox:
    """以调用者的名义暂存任务，邮件用请求要的语言；提交之后按门铃。"""
    call.unit.after_commit(call.services.ring)
    attempts, count = call.services.settings.tasks.max_attempts, call.services.metrics.count_accepted
    return MailOutbox(
        call.principal.name, attempts, call.unit.after_commit, "en" if call.language == "en" else "zh", count
    )


async def _prepare(call: Call[UserIn, None]) -> service.NewUser:
    return await new_user(call, call.body)


@endpoint(
    "POST",
    COLLECTION,
    scope=WRITE,
    summary="建用户，并发欢迎邮件",
    tag=TAG,
    body=UserIn,
    data=CreatedUserView,
    headers=("Location", "ETag"),
    body_example=examples.USER_IN,
    example=examples.CREATED_USER,
    success=HTTPStatus.CREATED,
    errors=(Code.CONFLICT, Code.OVERLOADED),
    guards_backlog=True,
    prepare=_prepare,
)
async def create_user(call: Call[UserIn, None]) -> Answer:
    created = await service.create_user(await call.unit.connection(), call.prepared, mail_outbox(call))
    headers = {"Location": f"{COLLECTION}/{created.user.id}", "ETag": etag(created.user.version)}
    return Answer(created_view(created), headers=headers)


@endpoint(
    "GET", COLLECTION, scope=READ, summary="列出用户", tag=TAG, query=UserQuery, data=UserList, example=examples.USERS
)
async def list_users(call: Call[None, UserQuery]) -> Answer:
    query = call.query
    wanted = store.UserFilter(query.status, query.username, query.email)
    page = await store.list_users(await call.unit.connection(), query.request(), wanted)
    return Answer(UserList.of(query, page))


@endpoint("GET", ITEM, scope=READ, summary="查用户", tag=TAG, data=UserView, errors=(Code.NOT_FOUND,),
          headers=("ETag",), example=examples.USER)  # fmt: skip
async def get_user(call: Call[None, None]) -> Answer:
    user = await service.get_user(await call.unit.connection(), call.number("id"))
    return Answer(UserView.model_validate(user), headers={"ETag": etag(user.version)})


@endpoint(
    "PUT",
    ITEM,
    scope=WRITE,
    summary="改用户的邮箱、状态、口令",
    tag=TAG,
    body=UserPatch,
    data=UserView,
    headers=("ETag",),
    body_example=examples.USER_PATCH,
    example=examples.CHANGED_USER,
    errors=(Code.NOT_FOUND, Code.CONFLICT, Code.PRECONDITION_FAILED, Code.OVERLOADED),
)
async def update_user(call: Call[UserPatch, None]) -> Answer:
    version = expected_version(call.request)
    given = call.body
    password_hash = None
    if given.password is not None:
        password_hash = await call.request.app[HASHER].hash(given.password.get_secret_value())
    change = service.UserChange(given.email, given.status, password_hash)
    user = await service.update_user(
        await call.unit.connection(), call.number("id"), change, version, call.unit.after_commit
    )
    await audited_change(call, USER_UPDATE, str(user.id), user.version)
    return Answer(UserView.model_validate(user), headers={"ETag": etag(user.version)})


@endpoint(
    "DELETE",
    ITEM,
    scope=WRITE,
    summary="删用户（软删除；用户名与邮箱随即可再用）",
    tag=TAG,
    errors=(Code.NOT_FOUND, Code.PRECONDITION_FAILED),
)
async def delete_user(call: Call[None, None]) -> Answer:
    version = expected_version(call.request)
    await service.delete_user(await call.unit.connection(), call.number("id"), version, call.unit.after_commit)
    await audited(call, USER_DELETE, str(call.number("id")))
    return Answer()


ROUTES: tuple[Endpoint, ...] = (create_user, list_users, get_user, update_user, delete_user)
