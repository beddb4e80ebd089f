"""docs/evidence/CONTRACT-CARRIERS.md 里的合同就是现有的合同，那一场全部通过。"""

from __future__ import annotations

import re
from pathlib import Path

from kaguan.sims.vocabulary import Carrier
from tests.contracts.carriers_report import PAGE, PATTERN

ROW = re.compile(r"^\| `(test_\w+)` \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def test_the_published_carrier_contracts_are_those_that_exist_and_all_pass() -> None:
    text = PAGE.read_text("utf-8")
    existing = [
        name for path in sorted(Path(__file__).parent.glob(PATTERN)) for name in TEST.findall(path.read_text("utf-8"))
    ]
    published = ROW.findall(text)
    assert sorted(name for name, _ in published) == sorted(existing)
    cells = {name: row.split(" | ") for name, row in published}
    assert all(cell == "—" or cell.isdigit() for row in cells.values() for cell in row)
    assert "，0 例没有通过" in text
    for index, carrier in enumerate(Carrier):
        assert any(row[index] != "—" for row in cells.values()), carrier
