"""控制台的登录：会话的一生，和每一种进不来。"""

from __future__ import annotations

import hashlib
from http.cookies import SimpleCookie
from pathlib import Path

from kaguan.config import Environment, Settings, load_settings
from kaguan.tokens import service as tokens
from kaguan.tokens import store as token_store
from tests.support.access_log import AccessLines
from tests.support.console import signed_in, visiting
from tests.support.folded import folded
from tests.support.serving import Api, serving

ENVELOPE_PATHS = ("/console/live/overview", "/console/live/tasks/018bcfe5-68c9-7000-8000-000000000009")


async def test_every_page_sends_a_stranger_to_the_login_and_back(api: Api) -> None:
    async with visiting(api) as stranger:
        page = await stranger.get("/console/tasks?status=failed")
        assert (page.status, page.location) == (303, "/console/login?next=%2Fconsole%2Ftasks%3Fstatus%3Dfailed")
        assert (await stranger.get("/")).location == "/console/login?next=%2F"
        form = await stranger.get(page.location)
        assert form.status == 200
        assert 'name="next" value="/console/tasks?status=failed"' in form.text
        arrived = await stranger.log_in(api.token, "/console/tasks?status=failed")
        assert (arrived.status, arrived.location) == (303, "/console/tasks?status=failed")
        assert (await stranger.get(arrived.location)).status == 200


async def test_the_login_names_the_token_of_this_data_directory_and_none_in_production(settings: Settings) -> None:
    for env, named in ((Environment.DEV, True), (Environment.STAGING, False)):
        given = settings.model_copy(update={"env": env, "data_dir": Path("/srv/elsewhere")})
        async with serving(given, name=env) as api, visiting(api) as stranger:
            assert ("/srv/elsewhere/dev-token" in (await stranger.get("/console/login")).text) is named


@folded("path", ENVELOPE_PATHS)
async def test_a_fragment_tells_the_script_that_the_session_is_gone(api: Api, path: str) -> None:
    async with visiting(api) as stranger:
        assert (await stranger.get(path)).status == 401


async def test_the_cookie_is_random_hidden_from_scripts_and_kept_only_as_a_digest(api: Api) -> None:
    async with visiting(api) as visitor:
        page = await visitor.log_in(api.token)
        cookie = SimpleCookie(page.headers["Set-Cookie"])["kaguan_session"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert cookie["path"] == "/"
        assert not cookie["secure"]
        assert int(cookie["max-age"]) == 43_200
        assert len(cookie.value) == 43
        [(key,)] = await api.rows("select id from tb_session")
        assert key == hashlib.sha256(cookie.value.encode()).digest()
        assert api.token not in (await visitor.get("/")).text


async def test_each_login_is_a_new_session_and_ends_the_old_one(api: Api) -> None:
    async with visiting(api) as visitor:
        await visitor.log_in(api.token)
        first = visitor.cookies["kaguan_session"]
        await visitor.log_in(api.token)
        assert visitor.cookies["kaguan_session"] != first
        assert await api.rows("select count(*) from tb_session") == [(1,)]
        async with visiting(api) as other:
            page = await other.get("/", {"Cookie": f"kaguan_session={first}"})
            assert page.status == 303


async def test_a_planted_session_id_is_never_adopted(api: Api) -> None:
    planted = "A" * 43
    async with visiting(api) as victim:
        page = await victim.post(
            "/console/login",
            {"token": api.token},
            {"Origin": victim.origin, "Cookie": f"kaguan_session={planted}"},
        )
        assert page.status == 303
        assert SimpleCookie(page.headers["Set-Cookie"])["kaguan_session"].value != planted


async def test_wrong_tokens_are_refused_alike_and_audited_without_the_token(api: Api) -> None:
    async with api.pool.connection() as connection:
        reader = (await tokens.create(connection, "reader", ["tasks:read"])).token
    unknown = "kg_" + "A" * 43
    async with visiting(api) as visitor:
        for token, status in (("", 401), ("nonsense", 401), (unknown, 401), (reader, 403)):
            page = await visitor.log_in(token)
            assert page.status == status
            assert 'data-testid="login-error"' in page.text
            assert not token or token not in page.text
        assert "kaguan_session" not in visitor.cookies
        async with api.session.post("/console/login", data={"token": api.token}) as response:
            assert response.status == 403  # 看不出来自哪里
    rows = await api.rows(
        "select actor, outcome, detail::text from tb_audit where action = 'console.login' order by id"
    )
    assert [row[:2] for row in rows] == [("anonymous", "refused")] * 3 + [("reader", "refused")]
    assert all("kg_" not in row[2] and "127.0.0.1" in row[2] for row in rows)


async def test_a_login_is_audited_and_leaves_no_secret_in_the_access_log(
    environ: dict[str, str], tmp_path: Path
) -> None:
    settings = load_settings({**environ, "KAGUAN_LOGGING__DIRECTORY": str(tmp_path / "logs")})
    lines = AccessLines(tmp_path / "logs" / "access.log")
    async with serving(settings) as api, visiting(api) as visitor:
        page = await visitor.log_in(api.token)
        line = await lines.of(page.headers["X-Request-ID"])
        csrf = await visitor.csrf()
        await visitor.post("/console/logout", {"csrf_token": csrf})
        secret = SimpleCookie(page.headers["Set-Cookie"])["kaguan_session"].value
        await lines.last(3)
        text = lines.path.read_text("utf-8")
        assert line["principal"] == "test"
        assert not any(value in text for value in (api.token, secret, csrf))
        assert [row[:2] for row in await api.rows("select action, outcome from tb_audit order by id")] == [
            ("console.login", "ok"),
            ("console.logout", "ok"),
        ]


async def test_revoking_the_token_ends_its_sessions_at_once(api: Api) -> None:
    async with signed_in(api) as visitor:
        assert (await visitor.get("/")).status == 200
        async with api.pool.connection() as connection:
            assert await token_store.revoke(connection, "operator")
        assert (await visitor.get("/")).status == 303
        assert (await visitor.get("/console/live/overview")).status == 401


@folded(
    "aged",
    ["last_seen_at = now() - interval '31 minutes'", "expires_at = now() - interval '1 second'"],
)
async def test_a_session_ends_when_idle_or_old(api: Api, aged: str) -> None:
    async with signed_in(api) as visitor:
        await api.rows(f"update tb_session set {aged}")
        assert (await visitor.get("/")).status == 303
        assert (await visitor.log_in(api.token)).status == 303
        assert (await api.rows("select count(*) from tb_session where expires_at < now()")) == [(0,)]


async def test_automatic_refresh_is_not_activity_and_opening_a_page_is(api: Api) -> None:
    seen = "select last_seen_at > now() - interval '1 minute' from tb_session"
    async with signed_in(api) as visitor:
        await api.rows("update tb_session set last_seen_at = now() - interval '20 minutes'")
        assert (await visitor.get("/console/live/overview")).status == 200
        assert await api.rows(seen) == [(False,)]
        assert (await visitor.get("/console/tasks")).status == 200
        assert await api.rows(seen) == [(True,)]


async def test_logging_out_ends_the_session_and_needs_the_form_token(api: Api) -> None:
    async with signed_in(api) as visitor:
        secret = visitor.cookies["kaguan_session"]
        assert (await visitor.post("/console/logout")).status == 403
        page = await visitor.act("/console/logout")
        assert (page.status, page.location) == (303, "/console/login")
        assert await api.rows("select count(*) from tb_session") == [(0,)]
        assert (await visitor.get("/", {"Cookie": f"kaguan_session={secret}"})).status == 303


async def test_guessing_is_slowed_down_per_address(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, "KAGUAN_API__LOGIN_PER_MINUTE": "3"})
    async with serving(settings) as api, visiting(api) as visitor:
        pages = [await visitor.log_in("kg_" + "A" * 43) for _ in range(8)]
        refused = [page for page in pages if page.status == 429]
        assert len(refused) >= 2  # 跨过分钟的交界也至少拒这么多
        assert 1 <= int(refused[-1].headers["Retry-After"]) <= 60
        assert refused[-1].headers["Content-Type"].startswith("text/html")


async def test_behind_a_trusted_proxy_that_speaks_https_the_cookie_is_secure(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, "KAGUAN_API__TRUSTED_PROXIES": '["127.0.0.0/8"]'})
    async with serving(settings) as api:
        for proxied, secure in (("https", True), ("http", False), ("", False)):
            async with visiting(api) as visitor:
                via = {"Origin": visitor.origin} | ({"X-Forwarded-Proto": proxied} if proxied else {})
                page = await visitor.post("/console/login", {"token": api.token}, via)
                name = "__Host-kaguan_session" if secure else "kaguan_session"
                cookie = SimpleCookie(page.headers["Set-Cookie"])[name]
                assert bool(cookie["secure"]) is secure, proxied
                again = {**via, "Cookie": f"{name}={cookie.value}"}
                assert (await visitor.get("/", again)).status == 200


PRODUCTION = {
    "KAGUAN_API__BCRYPT_ROUNDS": "10",
    "KAGUAN_SMTP__URL": "smtps://user:quiet-harbour-73@127.0.0.1:465",
    "KAGUAN_CARRIERS__ONELINK__PASSWORD": "quiet-harbour-74",
    "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "quiet-harbour-75",
}


@folded(
    ("environment", "allowed", "secure"),
    [("prod", "[]", True), ("staging", "[]", True), ("prod", '["console_http"]', False)],
)
async def test_in_production_every_cookie_is_secure_whatever_the_proxy_says_unless_allowed_by_name(
    environ: dict[str, str], environment: str, allowed: str, *, secure: bool
) -> None:
    hardened = {**PRODUCTION, "KAGUAN_ENV": environment, "KAGUAN_ALLOW_INSECURE": allowed}
    settings = load_settings({**environ, **hardened})
    async with serving(settings, name=f"{environment}-{secure}") as api, visiting(api) as visitor:
        page = await visitor.log_in(api.token)
        name = "__Host-kaguan_session" if secure else "kaguan_session"
        session = SimpleCookie(page.headers["Set-Cookie"])[name]
        assert bool(session["secure"]) is secure
        assert (session["path"], session["domain"], session["httponly"]) == ("/", "", True)
        assert (await visitor.get("/", {"Cookie": f"{name}={session.value}"})).status == 200
        page = await visitor.post("/console/preferences", {"language": "en"})
        assert bool(SimpleCookie(page.headers["Set-Cookie"])["kaguan_language"]["secure"]) is secure


async def test_an_untrusted_client_cannot_claim_https(api: Api) -> None:
    async with visiting(api) as visitor:
        page = await visitor.post(
            "/console/login", {"token": api.token}, {"Origin": visitor.origin, "X-Forwarded-Proto": "https"}
        )
        assert not SimpleCookie(page.headers["Set-Cookie"])["kaguan_session"]["secure"]


async def test_language_and_theme_are_chosen_without_a_login_and_kept(api: Api) -> None:
    async with visiting(api) as visitor:
        assert "登录控制台" in (await visitor.get("/console/login")).text
        assert "Sign in to the console" in (await visitor.get("/console/login", {"Accept-Language": "en"})).text
        page = await visitor.post(
            "/console/preferences", {"language": "en", "back": "/console/login?next=%2Fconsole%2Faudit"}
        )
        assert page.location == "/console/login?next=%2Fconsole%2Faudit"
        page = await visitor.post("/console/preferences", {"back": "/console/login?next=https://evil.example"})
        assert page.location == "/console/login"
        await visitor.post("/console/preferences", {"theme": "dark", "back": "https://evil.example/"})
        text = (await visitor.get("/console/login")).text
        assert '<html lang="en" data-theme="dark" ' in text
        await visitor.post("/console/preferences", {"language": "xx", "theme": '"><script>'})
        assert '<html lang="en" data-theme="dark" ' in (await visitor.get("/console/login")).text
        assert (await visitor.post("/console/preferences", {"language": "zh"}, {})).status == 403
