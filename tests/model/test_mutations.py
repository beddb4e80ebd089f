"""变异清单跟得上代码：要弄坏的文本都还在，点名的用例都还有。"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.model.mutation import Mutation
from tests.model.mutations import MUTATIONS
from tests.support.repository import ROOT

DOCUMENT = ROOT / "docs" / "evidence" / "MODEL.md"
TABLE = re.compile(r"(?<=<!-- mutations -->\n).*(?=<!-- /mutations -->)", re.DOTALL)


def listed() -> str:
    rows = ["| 弄坏的 | 在 | 用例 | 模拟 |", "| --- | --- | --- | --- |"]
    for one in MUTATIONS:
        tests = dict.fromkeys(Path(test.partition("::")[0]).stem for test in one.tests)
        names = "、".join(f"`{test}`" for test in tests)
        rows.append(f"| {one.name} | `{one.path}` | {names} | {'须' if one.protocol else '–'} |")
    return "\n".join([*rows, ""])


def test_the_document_lists_every_mutation() -> None:
    """``MUTATIONS_TABLE=write`` 重写它。"""
    text = DOCUMENT.read_text("utf-8")
    if os.environ.get("MUTATIONS_TABLE") == "write":
        text = TABLE.sub(lambda _: listed(), text)
        DOCUMENT.write_text(text, "utf-8")
    assert TABLE.findall(text) == [listed()]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_still_fits_the_code_and_names_tests_that_exist(mutation: Mutation) -> None:
    assert (ROOT / mutation.path).read_text("utf-8").count(mutation.old) == mutation.count
    for test in mutation.tests:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"^(async )?def {re.escape(name.partition('[')[0])}\(", source, re.MULTILINE)
