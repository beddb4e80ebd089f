"""随仓库发布的观测配置。"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.repository import ROOT

OBSERVABILITY = ROOT / "observability"
RULES = sorted((OBSERVABILITY / "prometheus" / "rules").glob("*.yml"))


def load_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    return content


def load_dashboard(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in load_yaml(path)["groups"] for rule in group["rules"]]
