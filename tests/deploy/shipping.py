"""deploy/ 里的东西，与生产里该有的样子。"""

from __future__ import annotations

from kaguan.config.loading import known_keys
from tests.architecture.shipped import load_yaml
from tests.support.production import SECRETS
from tests.support.repository import ROOT

DEPLOY = ROOT / "deploy"
HANDBOOK = ROOT / "docs" / "002-sqlalchemy-postgres-saq" / "运维手册.md"
PRODUCTION = load_yaml(ROOT / "configs" / "config.prod.yaml")
USER = 10001
# 一种进程一个端口：API 另有自己的指标端口
METRICS = {
    "api": PRODUCTION["api"]["metrics_port"],
    "relay": PRODUCTION["relay"]["metrics_port"],
    "worker": PRODUCTION["worker"]["metrics_port"],
}
LIVE, READY = "/health/live", "/health/ready"
NEEDED = set(SECRETS)


def unknown(names: set[str]) -> set[str]:
    """进程不认得的键：有一个就不启动。"""
    return {name for name in names if name.startswith("KAGUAN_")} - known_keys()
