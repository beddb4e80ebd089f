"""退出码是约定：值不变，指南与总结说的就是代码里的。"""

from __future__ import annotations

import re

from kaguan.product.exit_codes import ExitCode
from tests.support.repository import ROOT

GUIDES = ROOT / "docs" / "002-sqlalchemy-postgres-saq"
ROW = re.compile(r"^\| (\d) \| ([^：；|]+)", re.MULTILINE)


def test_the_values_are_the_ones_scripts_rely_on() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "DEPENDENCY": 3,
        "STUCK": 4,
    }


def test_the_guide_lists_each_code_with_its_meaning() -> None:
    guide = (GUIDES / "使用指南.md").read_text("utf-8")
    table = guide.split("### 退出码\n")[1].split("\n### ")[0]
    said = {int(value): meaning.strip() for value, meaning in ROW.findall(table)}
    assert said == {int(code): code.meaning for code in ExitCode}


def test_the_summary_says_the_same_in_one_line() -> None:
    line = "退出码：" + "，".join(f"{int(code)} {code.meaning}" for code in ExitCode) + "。"
    assert line in (GUIDES / "功能总结.md").read_text("utf-8")
