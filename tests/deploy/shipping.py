"""deploy/ 里的东西，与生产里该有的样子。"""

from __future__ import annotations

from kaguan.config import Process
from kaguan.config.loading import known_keys
from tests.architecture.shipped import load_yaml
from tests.support.production import CONTROL_CENTER, NEEDED, ONELINK
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
# 一种进程给哪些秘密，一个不多：非有不可的；worker 另有两家运营商的，不用的那一家是空的
GIVEN = {
    "migrate": NEEDED[Process.COMMAND],
    "api": NEEDED[Process.API],
    "relay": NEEDED[Process.RELAY],
    "worker": NEEDED[Process.WORKER] | {ONELINK, CONTROL_CENTER},
}
# 放在哪个文件里；没有列出的，文件就叫那个名字
KEPT = {
    ("migrate", "KAGUAN_DATABASE__URL"): "OWNER_DATABASE__URL",
    ("api", "KAGUAN_REDIS__URL"): "API_REDIS__URL",
    ("relay", "KAGUAN_REDIS__URL"): "RELAY_REDIS__URL",
    ("worker", "KAGUAN_REDIS__URL"): "WORKER_REDIS__URL",
}


def unknown(names: set[str]) -> set[str]:
    """进程不认得的键：有一个就不启动。"""
    return {name for name in names if name.startswith("KAGUAN_")} - known_keys()
