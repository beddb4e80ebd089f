"""要试的攻击，一条一项。加一种就在 :data:`ATTEMPTS` 里加一项。"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tests.attacks import bodies

TEXT = "text/plain"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
USERS = "/api/v1/users"
EMAIL = "/api/v1/tasks/email"
NOWHERE = "/nope"
ALIVE = "/health/live"


@dataclass(frozen=True, slots=True)
class Attempt:
    """一种攻击。

    Attributes:
        name: 表里的名字，也用来挑选（``--only``）。
        body: 造请求体；计时之前才造，不占着内存等轮到它。
        authenticated: 带不带令牌（全部权限）。
        times: 在一条连接上接连发几次。
        headers: 另加的头。
    """

    name: str
    body: Callable[[], bytes]
    path: str = USERS
    method: str = "POST"
    content_type: str | None = TEXT
    authenticated: bool = False
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


def mail(text: str) -> bytes:
    """一封合法的邮件。"""
    return json.dumps({"to": ["a@example.com"], "subject": "s", "body": text}).encode()


ATTEMPTS: tuple[Attempt, ...] = (
    Attempt("passpass 400 B, 401", lambda: b"pass" * 100),
    Attempt("passpass 800 B, 401", lambda: b"pass" * 200),
    Attempt("passpass 1 600 B, 401", lambda: b"pass" * 400),
    Attempt("passpass 1 600 B, 404", lambda: b"pass" * 400, path=NOWHERE),
    Attempt("passpass 1 200 B, /health/live", lambda: b"pass" * 300, path=ALIVE),
    Attempt("passpass 54 KB, 401", lambda: b"pass" * 13_500),
    Attempt("passpass 54 KB, token, 415", lambda: b"pass" * 13_500, authenticated=True),
    Attempt("passpass 54 KB as a JSON string", lambda: mail("pass" * 13_500), EMAIL, "POST", JSON, authenticated=True),
    Attempt("broken JSON of passpass 54 KB", lambda: b'{"pass' * 9_000, content_type=JSON, authenticated=True),
    Attempt("form x=pass aaa… 30 KB, GET", lambda: b"x=pass+" + b"a" * 30_000, ALIVE, "GET", FORM),
    Attempt("mail of pass aaa… 12 KB", lambda: mail("pass " + "a" * 12_000), EMAIL, "POST", JSON, authenticated=True),
    Attempt("mail of pass aaa… 30 KB", lambda: mail("pass " + "a" * 30_000), EMAIL, "POST", JSON, authenticated=True),
    Attempt("mail of ://: 54 KB", lambda: mail("a://:" * 10_800), EMAIL, "POST", JSON, authenticated=True),
    Attempt("mail of Key ( 54 KB", lambda: mail("Key (" * 10_800), EMAIL, "POST", JSON, authenticated=True),
    Attempt(
        "mail of rows 54 KB", lambda: mail("Failing row contains (" * 2_450), EMAIL, "POST", JSON, authenticated=True
    ),
    Attempt("mail of 4 500 passwords", lambda: mail("password=x, " * 4_500), EMAIL, "POST", JSON, authenticated=True),
    Attempt("mail of unclosed brackets", lambda: mail("pin=" + "[" * 54_000), EMAIL, "POST", JSON, authenticated=True),
    Attempt("Content-Type of quotes, 7 KB", lambda: b"x", NOWHERE, content_type="Mon, " + '"' * 7_000),
    Attempt("Content-Type of brackets, 7 KB", lambda: b"x", NOWHERE, content_type="a" + "(" * 7_000),
    Attempt("Accept-Language of blanks, 7 KB", lambda: b"", headers={"Accept-Language": f"en{' ' * 7_000}x"}),
    Attempt(
        "300 anonymous bodies of 51 KB", lambda: b'{"a":"' + b"b" * 51_000 + b'"}', NOWHERE, "POST", JSON, times=300
    ),
)

BATCH = "/api/v1/tasks/batch"
SIMS = "/api/v1/sims"


def sent(name: str, body: Callable[[], bytes], path: str, times: int = 1) -> Attempt:
    """带令牌的 JSON 请求体。"""
    return Attempt(name, body, path, "POST", JSON, authenticated=True, times=times)


GZIP = {"Content-Encoding": "gzip"}
BOMB = partial(bodies.bomb, 300 * bodies.MIB)  # 压过的约 300 KB

BODIES: tuple[Attempt, ...] = (
    Attempt("300 MiB in a gzip, 401", BOMB, EMAIL, "POST", JSON, times=10, headers=GZIP),
    Attempt("300 MiB in a gzip, 404", BOMB, NOWHERE, "POST", JSON, times=10, headers=GZIP),
    Attempt("300 MiB in a gzip, token", BOMB, EMAIL, "POST", JSON, authenticated=True, times=10, headers=GZIP),
    Attempt(
        "16 MB of nested lists in a gzip, token",
        bodies.packed_lists,
        BATCH,
        "POST",
        JSON,
        authenticated=True,
        headers=GZIP,
    ),
    sent("16 MB of nested lists, users", bodies.nested_lists, USERS),
    sent("16 MB of nested lists, batch", bodies.nested_lists, BATCH),
    sent("16 MB of unknown keys, users", bodies.unknown_keys, USERS),
    sent("16 MB of unknown keys, batch", bodies.unknown_keys, BATCH),
    sent("16 MB of numbers, batch", lambda: bodies.filled(b'{"tasks":[', b"1,", b"1]}"), BATCH),
    sent("2 MB of numbers, batch", lambda: bodies.filled(b'{"tasks":[', b"1,", b"1]}", 2_000_000), BATCH),
    sent("16 MB of digits, mail", lambda: bodies.filled(b'{"subject":', b"9", b"}"), EMAIL),
    sent("16 MB of duplicate keys, mail", bodies.duplicate_keys, EMAIL),
    sent("16 MB of opening brackets, mail", lambda: b"[" * bodies.CEILING, EMAIL),
    sent("16 MB of escaped quotes, mail", lambda: bodies.filled(b'{"subject":"', b'\\"', b'"}'), EMAIL),
    sent("16 MB of NULs, batch", lambda: bodies.filled(b'{"tasks":["', b'\\u0000","', b'"]}'), BATCH),
    sent("16 MB in one unknown field, mail", lambda: bodies.filled(b'{"x":"', b"a:", b'"}'), EMAIL),
    sent("6 000 small errors, sims", bodies.many_small_errors, SIMS),
    sent("200 000 small errors, batch", bodies.many_batch_errors, BATCH),
    sent("largest legal mail", bodies.largest_mail, EMAIL),
    sent("largest legal mail, ten times refused (422)", bodies.largest_mail, EMAIL, 10),
    sent("14 MB mail, ten times accepted", bodies.nameless_mail, EMAIL, 10),
    sent("largest legal batch: 1 000 mails", bodies.largest_batch_of_mails, BATCH),
    sent("largest legal batch: 762 000 cards", bodies.largest_batch_of_cards, BATCH),
    sent("largest legal sims", bodies.largest_sims, SIMS),
    sent("1 000 sims with remarks", bodies.registrable_sims, SIMS),
    sent("largest legal sim task", bodies.largest_sim_task, "/api/v1/tasks/sim"),
)
