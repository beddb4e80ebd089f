"""``make prove P=sbom`` 写的清单：恰好是锁定的那些包，个个带摘要；合不合 CycloneDX 的模式，写它的命令自己看。"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.prove.campaigns import CAMPAIGNS
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

TARGET = "dist/kaguan.cdx.json"
LOCKED = re.compile(r"^([\w.-]+)==([^ ;\\]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")

Package = tuple[str, str, frozenset[str]]


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """照那一场的命令做，只是不让它看合不合模式：那要几秒。"""
    words = CAMPAIGNS["sbom"].script.partition("cyclonedx-py")[2].replace("\\\n", "").split()
    target = tmp_path_factory.mktemp("sbom") / "bill.json"
    command = ["cyclonedx-py", *(str(target) if word == TARGET else word for word in words)]
    assert str(target) in command
    command[:2] = str(Path(sys.executable).with_name(command[0])), command[1], "--no-validate"
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE, check=True)
    found: dict[str, Any] = json.loads(target.read_text("utf-8"))
    return found


def locked() -> set[Package]:
    text = (ROOT / "requirements.txt").read_text("utf-8")
    return {(name, version, frozenset(HASH.findall(rest))) for name, version, rest in LOCKED.findall(text)}


def listed(bill: dict[str, Any]) -> set[Package]:
    return {
        (one["name"], one["version"], frozenset(found["content"] for found in one["externalReferences"][0]["hashes"]))
        for one in bill["components"]
    }


def test_the_bill_lists_exactly_what_is_locked_with_its_hashes(bill: dict[str, Any]) -> None:
    assert listed(bill) == locked()
    assert len(bill["components"]) == len(locked())
    assert bill["metadata"]["component"]["name"] == "kaguan"
    assert all(hashes for _, _, hashes in locked())
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in bill["components"])
