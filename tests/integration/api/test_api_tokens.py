from __future__ import annotations

import pytest

from kaguan.database.pool import Pool
from kaguan.tokens import service, store
from kaguan.words.errors import Code, DomainError
from tests.support.folded import folded


async def test_a_token_is_known_by_its_digest_until_it_is_revoked(pool: Pool) -> None:
    async with pool.connection() as connection:
        issued = await service.create(connection, "one", ["tasks:read", "ops", "ops"])
        principal = await service.authenticate(connection, issued.token)
        assert principal is not None
        assert (principal.name, principal.may("ops")) == ("one", True)
        assert principal.may("tasks:read")
        assert not principal.may("tasks:write")
        forged = issued.token[:-1] + ("B" if issued.token.endswith("A") else "A")
        assert await service.authenticate(connection, forged) is None
        assert await store.revoke(connection, "one")
        assert not await store.revoke(connection, "one")
        assert await service.authenticate(connection, issued.token) is None


async def test_a_name_is_free_again_after_revocation(pool: Pool) -> None:
    async with pool.connection() as connection:
        first = await service.create(connection, "one", ["ops"])
        with pytest.raises(DomainError) as caught:
            await service.create(connection, "one", ["ops"])
        assert caught.value.code is Code.CONFLICT
        await store.revoke(connection, "one")
        second = await service.create(connection, "one", ["ops"], lifetime=60)
        assert first.token != second.token
        rows = await store.select_all(connection)
        assert [(row.name, row.revoked_at is None, row.expires_at is None) for row in rows] == [
            ("one", False, True),
            ("one", True, False),
        ]
        assert rows[1].hint == second.token[: service.HINT_LENGTH]


@folded(
    ("name", "scopes", "field"),
    [
        ("", ["ops"], "name"),
        ("a b", ["ops"], "name"),
        ("x" * 101, ["ops"], "name"),
        ("x", [], "scopes"),
        ("x", ["root"], "scopes"),
        ("schedule", ["ops"], "name"),
        ("system", ["ops"], "name"),
        ("anonymous", ["ops"], "name"),
    ],
)
async def test_a_bad_token_request_names_its_field(pool: Pool, name: str, scopes: list[str], field: str) -> None:
    async with pool.connection() as connection:
        with pytest.raises(DomainError) as caught:
            await service.create(connection, name, scopes)
    assert [fault.field for fault in caught.value.fields] == [field]


async def test_the_last_use_is_written_at_most_once_a_minute(pool: Pool) -> None:
    async with pool.connection() as connection:
        token = await service.create(connection, "one", ["ops"])
        await store.touch(connection, [token.row.id])
        first = (await store.select_all(connection))[0].last_used_at
        await store.touch(connection, [token.row.id])
        assert first is not None
        assert (await store.select_all(connection))[0].last_used_at == first
