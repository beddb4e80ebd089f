"""审计查得着：按谁、动作、对象、时间段，一页页接着翻，也能整个导出；接口、页面、CSV 说的是同一份。"""

from __future__ import annotations

import csv
import re
from typing import Any
from urllib.parse import quote

from kaguan.audit.reading import SCAN
from tests.support.console import Page, signed_in
from tests.support.folded import folded
from tests.support.serving import Api

ROWS = """
insert into tb_audit (at, actor, action, target, detail, outcome)
select timestamptz '2026-01-01 00:00+00' + number * interval '1 hour', case number % 3 when 0 then 'li' else 'bot' end,
       case number % 2 when 0 then 'token.create' else 'task.cancel' end, 'card-' || number,
       jsonb_build_object('scopes', array['ops', 'ops:read'], 'run', true, 'until', '2026-01-02T00:00:00+00:00'), 'ok'
from generate_series(0, 11) as number
"""
WHERE = [
    ("", range(11, -1, -1)),
    ("actor=li", (9, 6, 3, 0)),
    ("actor=li&action=token.create", (6, 0)),
    ("target=card-1", (11, 10, 1)),
    ("since=2026-01-01T02:00:00Z&until=2026-01-01T05:00:00Z", (4, 3, 2)),
    ("actor=nobody", ()),
]


def shown(page: Page) -> list[int]:
    return [int(found) for found in re.findall(r"<td>card-(\d+)</td>", page.text)]


@folded(("asked", "numbers"), WHERE)
async def test_what_is_asked_is_found_in_pages_and_as_one_table(api: Api, asked: str, numbers: Any) -> None:
    await api.rows("truncate tb_audit")
    await api.rows(ROWS)
    wanted = [f"card-{number}" for number in numbers]
    found, moments, cursor = [], [], ""
    while True:
        answer = await api.get(f"/audit?page_size=2&{asked}{cursor}")
        found += [item["target"] for item in answer.data["items"]]
        moments += [item["at"] for item in answer.data["items"]]
        if answer.data["next_cursor"] is None:
            break
        cursor = f"&cursor={answer.data['next_cursor']}"
    assert found == wanted
    headers = {"Accept": "text/csv", "Authorization": f"Bearer {api.token}"}
    async with api.session.get(f"/api/v1/audit?{asked}", headers=headers) as response:
        rows = list(csv.DictReader((await response.text()).splitlines()))
    assert [(row["target"], row["at"]) for row in rows] == list(zip(wanted, moments, strict=True))
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/audit?{asked.replace(':00Z', 'Z')}")
        assert shown(page) == [*numbers]
        table = (await visitor.get(f"/console/audit/export?{asked}")).text if numbers else ""
        assert re.findall(r"card-(\d+),", table) == [str(number) for number in numbers]
        assert table.count("2026-01-02 08:00:00 +08:00") == page.text.count("2026-01-02 08:00:00 +08:00") == len(wanted)
        assert "['ops'" not in page.text
        assert ("ops、ops:read" in page.text) is bool(numbers)


async def test_a_rare_match_beyond_the_look_back_is_reached_by_going_on(api: Api) -> None:
    await api.rows(ROWS)
    await api.rows(
        "insert into tb_audit (actor, action, outcome) select 'bot', 'migrate', 'ok' from generate_series(1, %s)", SCAN
    )
    first = await api.get("/audit?target=card-2")
    assert first.data["items"] == []
    then = await api.get(f"/audit?target=card-2&cursor={first.data['next_cursor']}")
    assert [item["target"] for item in then.data["items"]] == ["card-2"]
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/audit?target=card-2")
        assert "可以接着往回找" in page.text
        assert 'rel="next"' in page.text


@folded("query", ["since=soon", "action=magic", f"target={quote(chr(7))}", "cursor=nonsense"])
async def test_a_filter_that_is_not_understood_is_named_and_exports_nothing(api: Api, query: str) -> None:
    async with signed_in(api) as visitor:
        page = await visitor.get(f"/console/audit?{query}")
        assert query.partition("=")[0] in re.findall(r'role="alert">([^<]*)<', page.text)[0]
        if not query.startswith("cursor"):
            assert (await visitor.get(f"/console/audit/export?{query}")).status == 400
