"""用户列表：页码、游标、条件、总数。"""

from __future__ import annotations

import base64

import pytest

from tests.support.folded import folded
from tests.support.serving import Api

FILL = """
insert into tb_user (username, email, password_hash, status)
select 'user' || n, 'user' || n || '@example.com', 'x', case when n %% 5 = 0 then 'banned' else 'active' end
from generate_series(1, %s) as n
"""


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


async def test_pages_go_from_the_newest_to_the_oldest(api: Api) -> None:
    await api.rows(FILL, 25)
    first = (await api.get("/users?page=1&page_size=10")).data
    third = (await api.get("/users?page=3&page_size=10")).data
    beyond = (await api.get("/users?page=4&page_size=10")).data
    assert [item["username"] for item in first["items"]] == [f"user{n}" for n in range(25, 15, -1)]
    assert [item["username"] for item in third["items"]] == [f"user{n}" for n in range(5, 0, -1)]
    assert (first["total"], first["total_estimated"], first["page"], first["page_size"]) == (25, False, 1, 10)
    assert first["next_cursor"] is not None
    assert third["next_cursor"] is None
    assert (beyond["items"], beyond["total"]) == ([], 25)


async def test_cursors_walk_every_row_once_though_rows_come_and_go(api: Api) -> None:
    await api.rows(FILL, 25)
    seen: list[str] = []
    path = "/users?page_size=10"
    while path:
        page = (await api.get(path)).data
        seen += [item["username"] for item in page["items"]]
        await api.rows("update tb_user set deleted_at = now() where username = 'user25'")
        await api.rows(FILL.replace("'user'", "'late" + str(len(seen)) + "_'"), 1)
        path = f"/users?page_size=10&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == [f"user{n}" for n in range(25, 0, -1)]


async def test_a_page_by_cursor_has_no_number(api: Api) -> None:
    await api.rows(FILL, 3)
    first = (await api.get("/users?page_size=2")).data
    second = (await api.get(f"/users?page_size=2&cursor={first['next_cursor']}")).data
    assert second["page"] is None
    assert [item["username"] for item in second["items"]] == ["user1"]


async def test_status_filters_items_and_total(api: Api) -> None:
    await api.rows(FILL, 25)
    page = (await api.get("/users?status=banned&page_size=2")).data
    assert page["total"] == 5
    assert [item["status"] for item in page["items"]] == ["banned", "banned"]


@folded(
    ("query", "faulty"),
    [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=x", "page"),
        ("page=%EF%BC%91", "page"),
        ("page=99999999999999999999", "page"),
        ("page=501&page_size=20", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("status=root", "status"),
        ("status=", "status"),
        ("limit=10", "limit"),
        ("page=1&page=2", "page"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=a", "cursor"),
        ("cursor=%E4%B8%AD", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + cursor_of("-id:0"), "cursor"),
        ("cursor=" + cursor_of("-id:-5"), "cursor"),
        ("cursor=" + cursor_of("-id:007"), "cursor"),
        ("cursor=" + cursor_of("-id:9223372036854775808"), "cursor"),
        ("cursor=" + cursor_of("12"), "cursor"),
        ("cursor=" + cursor_of("-id:5") + "&page=2", "page"),
        ("cursor=" + cursor_of("-id:5") + "=", "cursor"),
    ],
)
async def test_a_bad_query_is_refused_by_name(api: Api, query: str, faulty: str) -> None:
    reply = await api.get(f"/users?{query}")
    assert (reply.status, reply.code) == (400, 1001), reply.text
    assert faulty in reply.faulty


async def test_the_total_of_a_large_table_is_estimated_and_says_so(api: Api) -> None:
    await api.rows(FILL, 12_000)
    await api.rows("analyze tb_user")
    everything = (await api.get("/users")).data
    assert everything["total_estimated"] is True
    assert everything["total"] == pytest.approx(12_000, rel=0.1)
    banned = (await api.get("/users?status=banned")).data
    assert (banned["total"], banned["total_estimated"]) == (2_400, False)
