"""从 CSV 登记卡：先看，再只登记看到的；错的各说在哪一行，错误文件改好了直接再导入。"""

from __future__ import annotations

import base64
import csv
from io import StringIO
from typing import Any

from kaguan.sims.iccid import with_check_digit
from kaguan.words.spreadsheet import BOM
from tests.support.folded import folded
from tests.support.serving import Api, Reply

EID = "89049032123451234512345678901235"
HEADER = "ICCID,运营商,EID,MSISDN,套餐,分组,标签,客户,备注"


def iccid(number: int) -> str:
    return with_check_digit(f"898600{number:013d}")


async def offer(api: Api, text: str | bytes, **rest: object) -> Reply:
    raw = text if isinstance(text, bytes) else text.encode()
    return await api.post("/sims/imports", {"content_base64": base64.b64encode(raw).decode(), **rest})


def outcomes(reply: Reply) -> list[tuple[int, str]]:
    return [(item["line"], item["outcome"]) for item in reply.data["items"]]


async def test_a_dry_run_tells_every_line_and_its_preview_registers_exactly_the_new(api: Api) -> None:
    await api.post("/sims", {"sims": [{"iccid": iccid(1), "carrier": "onelink"}]})
    lines = [
        HEADER,
        f"{iccid(1)},onelink,,,,,,,",
        f'{iccid(2)},OneLink,{EID},+86 138-0013-8000,30M,一号仓,展会;样卡,示例公司,"两行\n备注"',
        f"12345,onelink,,,{'长' * 51},,,,",
        f"{iccid(2)},onelink,,,,,,,",
        "",
        f"{iccid(3)},nobody,,,,,,,",
        "8.98603E+18,control_center,,,,,,,",
        f"{iccid(4)},control center,,,,,,,",
    ]
    dry = await offer(api, "\n".join(lines))
    assert dry.status == 200, dry.text
    assert outcomes(dry) == [
        (2, "existing"),
        (3, "new"),
        (5, "invalid"),
        (6, "invalid"),
        (8, "invalid"),
        (9, "invalid"),
        (10, "new"),
    ]
    assert [[error["field"] for error in item["errors"]] for item in dry.data["items"]] == [
        [],
        [],
        ["iccid", "plan"],
        ["iccid"],
        ["carrier"],
        ["iccid"],
        [],
    ]
    assert "3" in dry.data["items"][3]["errors"][0]["reason"]
    assert await api.rows("select count(*) from tb_sim") == [(1,)]
    await api.post("/sims", {"sims": [{"iccid": iccid(4), "carrier": "onelink"}]})
    done = await api.post("/sims/imports", {"preview": dry.data["preview"], "dry_run": False})
    assert outcomes(done) == [(3, "new"), (10, "existing")]
    kept = (await api.get(f"/sims/{iccid(2)}")).data
    assert (kept["msisdn"], kept["eid"], kept["plan"], kept["group"]) == ("8613800138000", EID, "30M", "一号仓")
    assert (kept["tags"], kept["customer"], kept["remark"]) == (["展会", "样卡"], "示例公司", "两行\n备注")
    assert (await api.get(f"/sims/{iccid(4)}")).data["carrier"] == "onelink"


@folded("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@folded("separator", [",", ";", "\t"])
async def test_what_excel_saves_is_read(api: Api, encoding: str, separator: str) -> None:
    await api.rows("truncate tb_sim cascade")
    text = f"卡号{separator}分组\r\n{iccid(1)}{separator}一号仓\r\n"
    done = await offer(api, text.encode(encoding), carrier="onelink", dry_run=False)
    assert (done.data["new"], done.data["invalid"]) == (1, 0), done.text
    assert (await api.get(f"/sims/{iccid(1)}")).data["group"] == "一号仓"


@folded(
    "raw",
    [
        b"",
        b"\n\n",
        b"\xff\xfe\xff",
        b"iccid\n\x00",
        b'iccid\n"8986',
        b"msisdn\n138",
        b"iccid,ICCID\n1,2",
        "iccid,颜色\n1,2".encode(),
        b"iccid\n" + b"1\n" * 10_001,
    ],
)
async def test_a_file_that_is_no_list_of_cards_is_refused_whole_in_words(api: Api, raw: bytes) -> None:
    reply = await offer(api, raw or b" ", carrier="onelink", dry_run=False)
    assert (reply.status, reply.data["errors"][0]["field"]) == (400, "content_base64"), reply.text


@folded(
    "body",
    [{}, {"content_base64": "?"}, {"preview": "abc"}, {"preview": "abc", "dry_run": False}, {"preview": None}],
)
async def test_a_request_without_a_file_or_with_a_forged_preview_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await api.post("/sims/imports", body)).status == 400


async def test_the_error_file_mended_goes_in_and_runs_no_formula(api: Api) -> None:
    text = f'iccid,carrier,remark\n{iccid(1)},onelink,ok\n123,onelink,"=HYPERLINK(""x"")"\n'
    body = {"content_base64": base64.b64encode(text.encode()).decode()}
    headers = {"Authorization": f"Bearer {api.token}", "Accept": "text/csv", "Accept-Language": "en"}
    async with api.session.post("/api/v1/sims/imports", json=body, headers=headers) as reply:
        assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
        errors = (await reply.read()).decode()
    header, row = csv.reader(StringIO(errors.removeprefix(BOM)))
    assert header == ["iccid", "carrier", "remark", "Line", "Reason"]
    assert row[:4] == ["123", "onelink", '\'=HYPERLINK("x")', "3"]
    assert row[4].startswith("iccid: must be")
    mended = errors.replace("\r\n123,", f"\r\n{iccid(2)},")
    done = await offer(api, mended, dry_run=False)
    assert done.data["new"] == 1, done.text
    assert (await api.get(f"/sims/{iccid(2)}")).data["remark"] == '=HYPERLINK("x")'


async def test_ten_thousand_lines_go_in_at_once(api: Api) -> None:
    text = "iccid\n" + "".join(f"{iccid(number)}\n" for number in range(10_000))
    done = await offer(api, text, carrier="onelink", dry_run=False)
    assert (done.status, done.data["new"]) == (200, 10_000), done.text[:300]
    again = await offer(api, text, carrier="onelink")
    assert (again.data["existing"], again.data["preview"]) == (10_000, None)
