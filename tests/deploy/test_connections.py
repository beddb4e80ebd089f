"""连接数的预算只有一个出处（``kaguan.cli.connections``）：手册、compose、清单里的数都由它算得出。"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from kaguan.cli.connections import COMMANDS, at_most
from kaguan.config.model import Database
from tests.deploy.shipping import DEPLOY, HANDBOOK, METRICS

EACH = {role: at_most(Database(), role) for role in METRICS}
AT_LEAST = sum(EACH.values()) + COMMANDS
RESERVED = 3  # PostgreSQL 出厂的 superuser_reserved_connections


def section() -> str:
    return HANDBOOK.read_text("utf-8").partition("### 连接数的预算")[2].partition("\n### ")[0]


def worked_out(text: str) -> list[tuple[str, str]]:
    """文里的算式与写着的结果。"""
    return re.findall(r"((?:\d+ × )?\d+(?: \+ (?:\d+ × )?\d+)+) = (\d+)", text)


def total(sum_: str) -> int:
    factors = (part.split(" × ") for part in sum_.split(" + "))
    return sum(int(first) * int(*rest or ["1"]) for first, *rest in factors)


def written(file: Path, field: str) -> list[int]:
    found = [one["spec"].get(field) for one in yaml.safe_load_all(file.read_text("utf-8"))]
    return [value for value in found if value is not None]


def test_the_table_of_the_handbook_is_the_code() -> None:
    rows = dict(re.findall(r"^\| (API|relay|worker|命令行)[^|]* \| [^|]+ \| (\d+) \|", section(), re.MULTILINE))
    assert {name.lower(): int(most) for name, most in rows.items()} == {**EACH, "命令行": COMMANDS}


def test_what_the_handbook_adds_up_is_added_right_from_the_numbers_of_the_table() -> None:
    api, relay, worker = EACH.values()
    kubernetes = DEPLOY / "kubernetes"
    (most_api,), (relays,), (most_workers,) = (
        written(kubernetes / "base" / "api.yaml", "maxReplicas"),
        written(kubernetes / "base" / "relay.yaml", "replicas"),
        written(kubernetes / "keda" / "scaledobject.yaml", "maxReplicaCount"),
    )
    assert written(kubernetes / "adapter" / "hpa.yaml", "maxReplicas") == [most_workers]
    sums = worked_out(section())
    assert [text for text, _ in sums] == [
        f"{api} + {relay} + {worker} + {COMMANDS}",
        f"2 × {api} + 2 × {relay} + 3 × {worker} + {COMMANDS}",
        f"{most_api} × {api} + {relays} × {relay} + {most_workers} × {worker} + {COMMANDS}",
    ]
    assert [total(text) for text, _ in sums] == [int(result) for _, result in sums]
    assert f"再加 {sum(EACH.values())}。" in section()


def test_compose_allows_what_it_says_and_its_processes_may_open() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert re.findall(r"至多 (\d+) 条", text) == [str(AT_LEAST)]
    assert int(re.findall(r"max_connections=(\d+)", text)[0]) >= AT_LEAST + RESERVED
