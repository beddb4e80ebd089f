from __future__ import annotations

import pytest

from api.console.browser import safe_next


@pytest.mark.parametrize(
    "given",
    [
        "/",
        "/?x=1",
        "/console/tasks",
        "/console/tasks?status=failed&q=%E5%8D%A1",
        "/monitor/",
        "/monitor/queues/default",
    ],
)
def test_pages_of_our_own_are_kept(given: str) -> None:
    assert safe_next(given) == given


@pytest.mark.parametrize(
    "given",
    [
        None, "", "https://evil.example/", "//evil.example/console/", "/\\evil.example", "\\\\evil.example",
        "/console/\\..\\x", "javascript:alert(1)", "console/tasks", "/console/login", "/console/logout",
        "/api/v1/users", "/console/../api", "/console/x\r\nSet-Cookie: a=b", "/console/" + "a" * 3_000,
        "///evil.example/console/", "http:/console/tasks", " /console/tasks",
    ],
)  # fmt: skip
def test_everything_else_leads_home(given: str | None) -> None:
    assert safe_next(given) == "/"
