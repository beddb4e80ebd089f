"""用户的路由：每条路、每种拒绝。"""

from __future__ import annotations

from functools import partial

import bcrypt
import pytest

from kaguan.config import Settings
from tests.support.eventually import eventually
from tests.support.folded import folded
from tests.support.serving import Api, serving

PASSWORD = "correct horse"
USER = {"username": "zhang.san", "email": "zhang@example.com", "password": PASSWORD}


async def test_creating_a_user_answers_with_its_address_and_stages_the_welcome_mail(api: Api) -> None:
    reply = await api.post("/users", USER)
    assert reply.status == 201, reply.text
    assert reply.data["username"] == "zhang.san"
    assert reply.data["status"] == "active"
    assert reply.headers["Location"] == f"/api/v1/users/{reply.data['id']}"
    assert reply.headers["ETag"] == '"1"'
    tasks = await api.rows("select id::text, type, principal, payload, max_attempts from vw_task")
    assert len(tasks) == 1
    task_id, task_type, principal, payload, max_attempts = tasks[0]
    assert (task_id, task_type, principal, max_attempts) == (reply.data["welcome_task_id"], "email:send", "test", 6)
    assert payload["to"] == ["zhang@example.com"]
    assert await api.rows("select task_id::text, delivery from tb_outbox") == [(task_id, 1)]
    assert len(api.rings) == 1


async def test_the_password_is_kept_as_a_bcrypt_hash_only(api: Api) -> None:
    await api.post("/users", USER)
    [(kept,)] = await api.rows("select password_hash from tb_user")
    assert kept.startswith("$2b$04$")
    assert bcrypt.checkpw(PASSWORD.encode(), kept.encode())
    [(everything,)] = await api.rows("select string_agg(payload::text, ' ') from vw_task")
    assert PASSWORD not in everything
    assert "$2b$" not in everything


async def test_no_answer_holds_the_password_or_its_hash(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    replies = [
        created,
        await api.get(path),
        await api.get("/users"),
        await api.put(path, {"password": "another secret"}),
        await api.post("/users", USER),
        await api.post("/users", {**USER, "password": "short"}),
        await api.delete(path),
    ]
    for reply in replies:
        assert "correct horse" not in reply.text
        assert "another secret" not in reply.text
        assert "$2b$" not in reply.text
        assert "password_hash" not in reply.text


async def test_getting_an_absent_user_is_not_found(api: Api) -> None:
    for method in ("GET", "DELETE"):
        reply = await api.call(method, "/users/12345")
        assert (reply.status, reply.code) == (404, 1004)
    reply = await api.put("/users/12345", {"status": "banned"})
    assert (reply.status, reply.code) == (404, 1004)


@folded("bad", ["0", "-1", "abc", "9223372036854775808", "1e3", "%00", "１"])
async def test_an_id_that_cannot_be_one_is_refused(api: Api, bad: str) -> None:
    reply = await api.get(f"/users/{bad}")
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, ["id"])


async def test_updating_changes_what_was_given_and_counts_the_version(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    changed = await api.put(path, {"email": "new@example.com", "status": "inactive"})
    assert changed.status == 200
    assert changed.data["email"] == "new@example.com"
    assert changed.data["status"] == "inactive"
    assert changed.data["username"] == "zhang.san"
    assert changed.headers["ETag"] == '"2"'
    assert changed.data["updated_at"] > created.data["updated_at"]
    assert (await api.get(path)).data == changed.data


async def test_updating_the_password_replaces_the_hash(api: Api) -> None:
    created = await api.post("/users", USER)
    assert (await api.put(f"/users/{created.data['id']}", {"password": "battery staple"})).status == 200
    [(kept,)] = await api.rows("select password_hash from tb_user")
    assert bcrypt.checkpw(b"battery staple", kept.encode())


async def test_deleting_is_soft_and_frees_username_and_email(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    assert (await api.delete(path)).status == 200
    assert (await api.get(path)).status == 404
    assert (await api.delete(path)).status == 404
    assert (await api.get("/users")).data["items"] == []
    again = await api.post("/users", USER)
    assert again.status == 201
    assert again.data["id"] != created.data["id"]
    rows = await api.rows("select deleted_at is null from tb_user order by id")
    assert rows == [(False,), (True,)]


@folded(
    ("other", "field"),
    [
        ({"username": "ZHANG.SAN", "email": "other@example.com"}, "username"),
        ({"username": "li.si", "email": "ZHANG@example.com"}, "email"),
    ],
)
async def test_a_taken_name_or_address_is_a_conflict_whatever_its_case(
    api: Api, other: dict[str, str], field: str
) -> None:
    await api.rows("truncate tb_user, tb_task, tb_outbox cascade")
    await api.post("/users", USER)
    reply = await api.post("/users", {**USER, **other})
    assert (reply.status, reply.code, reply.faulty) == (409, 1005, [field])
    assert await api.rows("select count(*) from tb_user") == [(1,)]
    assert await api.rows("select count(*) from vw_task") == [(1,)]


async def test_moving_to_an_address_in_use_is_a_conflict(api: Api) -> None:
    await api.post("/users", USER)
    other = await api.post("/users", {**USER, "username": "li.si", "email": "li@example.com"})
    reply = await api.put(f"/users/{other.data['id']}", {"email": "zhang@example.com"})
    assert (reply.status, reply.code, reply.faulty) == (409, 1005, ["email"])
    kept = await api.get(f"/users/{other.data['id']}")
    assert (kept.data["email"], kept.data["version"]) == ("li@example.com", 1)


async def test_a_conflict_names_itself_in_the_language_asked_for(api: Api) -> None:
    await api.post("/users", USER)
    same_name = {**USER, "email": "other@example.com"}
    chinese = await api.post("/users", same_name)
    english = await api.call("POST", "/users", same_name, {"Accept-Language": "en"})
    assert chinese.body["msg"] == "用户名已被占用"
    assert english.body["msg"] == "username is already taken"


@pytest.mark.usefixtures("brief_locks")
async def test_a_row_held_by_someone_else_times_out_instead_of_hanging(api: Api) -> None:
    created = await api.post("/users", USER)
    path = f"/users/{created.data['id']}"
    async with api.pool.connection() as holder, holder.transaction():
        await holder.execute("select 1 from tb_user for update")
        blocked = await api.put(path, {"status": "banned"})
        assert (blocked.status, blocked.code) == (504, 2004)
        assert (await api.get(path)).data["status"] == "active"
    await eventually(partial(changed, api, path))


async def changed(api: Api, path: str) -> bool:
    return (await api.put(path, {"status": "banned"})).status == 200


async def test_a_scope_is_needed_for_reading_and_another_for_writing(settings: Settings) -> None:
    async with serving(settings, ["users:read"]) as reader:
        assert (await reader.get("/users")).status == 200
        for refused in (
            await reader.post("/users", USER),
            await reader.put("/users/1", {"status": "banned"}),
            await reader.delete("/users/1"),
            await reader.get("/orders"),
            await reader.get("/sims"),
        ):
            assert (refused.status, refused.code) == (403, 1003)
