"""有人知道了：收起来的仍列着，不上色；到时、更重了、提前，都再说；谁做的进审计。"""

from __future__ import annotations

import asyncio
import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from kaguan.config import Settings
from kaguan.verdict.acknowledging import folded
from kaguan.verdict.model import Acknowledgement, Concern, ConcernCode, Level, Verdict
from tests.support.console import signed_in
from tests.support.eventually import eventually
from tests.support.invocation import Invocation
from tests.support.serving import Api, serving

PATH = "/verdict/acknowledgements"
WANTED = {"code": "uncertain", "reason": "asking the post office", "seconds": 3_600}
UNCERTAIN = (
    "insert into tb_task (id, type, queue, principal, payload, max_attempts, status) values "
    "(gen_random_uuid(), 'email:send', 'default', 'p', '{}', 3, 'uncertain')"
)


async def told(api: Api) -> dict[str, Any]:
    async with api.session.get("/health", headers={"Authorization": f"Bearer {api.token}"}) as answer:
        concerns = (await answer.json())["data"]["verdict"]["concerns"]
        return {one["code"]: one for one in concerns}


async def is_known(api: Api) -> bool:
    return (await told(api))["uncertain"]["acknowledged"] is not None


async def is_loud(api: Api) -> bool:
    return not await is_known(api)


async def test_it_is_folded_until_it_is_over_or_gets_worse(settings: Settings) -> None:
    async with serving(settings) as api:
        await api.rows(UNCERTAIN)
        made = (await api.post(PATH, WANTED)).data
        assert (made["level"], made["most"], made["actor"]) == ("warn", 1, "test")
        await eventually(lambda: is_known(api))
        assert (await told(api))["uncertain"]["acknowledged"]["reason"] == WANTED["reason"]
        assert [one["id"] for one in (await api.get(PATH)).data["items"]] == [made["id"]]
        await api.rows(UNCERTAIN)  # 又多了一个
        await eventually(lambda: is_loud(api))
        assert (await api.post(PATH, WANTED)).data["most"] == 2
        await eventually(lambda: is_known(api))
        await api.rows("update tb_acknowledgement set until = clock_timestamp()")
        await eventually(lambda: is_loud(api))
        again = (await api.post(PATH, WANTED)).data
        assert (await api.call("DELETE", f"{PATH}/{again['id']}")).status == 200
        assert (await api.call("DELETE", f"{PATH}/{again['id']}")).status == 404
        await eventually(lambda: is_loud(api))
        noted = await api.rows("select action, target from tb_audit where action like 'verdict.%%' order by id")
    assert noted == [("verdict.acknowledge", "uncertain")] * 3 + [("verdict.remind", "uncertain")]


async def test_what_is_not_there_or_not_clear_is_refused(settings: Settings) -> None:
    async with serving(settings) as api:
        assert (await api.post(PATH, WANTED)).status == 404
        await api.rows(UNCERTAIN)
        for wrong in ({"reason": " "}, {"seconds": None}, {"until": "2026-01-01T00:00:00Z"}, {"code": "tide"}):
            assert (await api.post(PATH, WANTED | wrong)).status == 400
        assert (await api.post(PATH, WANTED | {"subject": "nobody"})).status == 404


async def test_who_may_only_look_does_not_acknowledge(settings: Settings) -> None:
    async with serving(settings, ("ops:read",)) as api:
        await api.rows(UNCERTAIN)
        assert (await api.post(PATH, WANTED)).status == 403


async def test_in_the_console_it_takes_two_clicks_and_a_reason(settings: Settings) -> None:
    async with (
        serving(settings) as api,
        signed_in(api, ["ops"]) as visitor,
        signed_in(api, ["ops:read"], "viewer") as viewer,
    ):
        await api.rows(UNCERTAIN)
        assert "concern=uncertain" in (await visitor.get("/")).text
        assert "concern=uncertain" not in (await viewer.get("/")).text
        page = await visitor.get("/console/verdict?concern=uncertain&subject=")
        assert page.tested("acknowledge-form"), page.text
        form = {"concern": "uncertain", "subject": "", "minutes": "60", "reason": "asking a@example.com"}
        page = await visitor.act("/console/verdict/acknowledge", **{**form, "minutes": "0"})
        (back,) = re.findall(r'href="([^"]+)#reason" data-testid="back"', page.text)
        assert 'value="asking a@example.com"' in (await visitor.get(html.unescape(back))).text
        done = await visitor.act("/console/verdict/acknowledge", **form)
        assert done.status == 303, done.text

        async def folds() -> bool:
            return 'data-testid="acknowledged"' in (await visitor.get("/")).text

        await eventually(folds)
        assert "asking a…@example.com" in (await viewer.get("/")).text
        [(one,)] = await api.rows("select id from tb_acknowledgement")
        assert (await visitor.act(f"/console/verdict/{one}/remind")).status == 303
        assert await api.rows("select * from tb_acknowledgement") == []


async def test_on_the_command_line_it_is_told_and_the_doctor_is_content(
    settings: Settings,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run = Invocation(monkeypatch, capsys)
    why = ("--for", "2h", "--reason", "known")
    async with serving(settings) as api:
        code, _, err = await asyncio.to_thread(run, "acknowledge", "uncertain", *why)
        assert (code, "doctor" in err) == (1, True), err
        await api.rows(UNCERTAIN)

        async def made() -> str | None:  # 命令看一眼的时限是出厂的：停顿着的那一眼不算
            code, out, _ = await asyncio.to_thread(run, "acknowledge", "uncertain", *why, "--json")
            return str(json.loads(out)["id"]) if code == 0 else None

        one = await eventually(made) or ""

        async def content() -> bool:
            symptoms = json.loads((await asyncio.to_thread(run, "doctor", "--json"))[1])
            return [
                (line["level"], (line["acknowledged"] or {}).get("reason"))
                for line in symptoms
                if line.get("code") == "uncertain"
            ] == [("ok", "known")]

        await eventually(content)
        assert "known" in (await asyncio.to_thread(run, "verdict", "acknowledged"))[1]
        assert (await asyncio.to_thread(run, "verdict", "remind", one))[0] == 0
        assert (await asyncio.to_thread(run, "verdict", "remind", one))[0] == 1


def test_consequences_fold_with_their_cause_unless_they_are_heavier() -> None:
    now = datetime.now(UTC)
    until = now + timedelta(hours=1)
    known = Acknowledgement(uuid4(), "no_relay", "", "warn", None, "r", "p", now, until)
    root = Concern(ConcernCode.NO_RELAY, Level.WARN)
    effects = [
        Concern(ConcernCode.BACKLOG, level, name, because=root.identity)
        for level, name in ((Level.WARN, "low"), (Level.BAD, "critical"))
    ]
    light, heavy = Verdict(now, folded([root, effects[0]], [known])), Verdict(now, folded([root, *effects], [known]))
    assert (light.level, heavy.level) == (Level.OK, Level.BAD)
    assert [one.acknowledged is None for one in heavy.concerns] == [False, False, True]
    worse = Concern(ConcernCode.NO_RELAY, Level.BAD)
    assert Verdict(now, folded([worse], [known])).level is Level.BAD
