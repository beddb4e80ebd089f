"""契约测试共用：一个运行中的应用，访问日志写到文件。"""

from __future__ import annotations

import os

import pytest

from tests.contracts.carriers_report import CarrierContract
from tests.contracts.contract_report import WANTED
from tests.support.serving import Api


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(WANTED):
        config.pluginmanager.register(CarrierContract())


@pytest.fixture
def api(logged_api: Api) -> Api:
    return logged_api
