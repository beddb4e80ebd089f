"""登录之后回哪里：只许本站控制台与监控页的地址（防开放重定向）。"""

from __future__ import annotations

from urllib.parse import urlsplit

HOME = "/"
LOGIN = "/console/login"
LOGOUT = "/console/logout"
ALLOWED = ("/console/", "/monitor/")
MAX_LENGTH = 2_000


def safe_next(given: str | None) -> str:
    """``given`` 若是本站的页面就原样，否则首页。"""
    if not given or len(given) > MAX_LENGTH or not given.isprintable() or "\\" in given:
        return HOME
    if not given.startswith("/") or given.startswith("//"):
        return HOME
    parts = urlsplit(given)
    if parts.scheme or parts.netloc or parts.path in {LOGIN, LOGOUT}:
        return HOME
    within = parts.path == HOME or parts.path.startswith(ALLOWED)
    return given if within and "/../" not in f"{parts.path}/" else HOME
