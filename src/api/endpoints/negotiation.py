"""``Accept``：有的路由除了 JSON，也答 CSV。"""

from __future__ import annotations

from aiohttp import web

from api.http.envelope import JSON
from kaguan.words.spreadsheet import MEDIA_TYPE


def wants_csv(request: web.Request) -> bool:
    """点名要 CSV，且不比要 JSON 的更轻（RFC 9110 §12.5.1）。"""
    weights = dict(_weighed(part) for value in request.headers.getall("Accept", ()) for part in value.split(","))
    csv = weights.get(MEDIA_TYPE, 0.0)
    return csv > 0 and csv >= weights.get(JSON, 0.0)


def _weighed(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    given = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
    try:
        return name, float(given)
    except ValueError:
        return name, 0.0
