"""口令散列：形状、上限、排队、不泄露用户是否存在。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import bcrypt
import pytest

from kaguan.errors import Code, DomainError
from kaguan.users.password import PasswordHasher, check_password

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 4


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    with PasswordHasher(ROUNDS, concurrency=2, queue_limit=8) as opened:
        yield opened


@pytest.mark.parametrize("password", ["12345678", "a" * 72, "密" * 24, "😀" * 18, "with space and é"])
async def test_a_password_within_the_limits_hashes_and_verifies(hasher: PasswordHasher, password: str) -> None:
    kept = await hasher.hash(password)
    assert kept.startswith(f"$2b$0{ROUNDS}$")
    assert await hasher.verify(password, kept)
    assert not await hasher.verify(password[:-1] + "x", kept)


async def test_two_hashes_of_one_password_differ(hasher: PasswordHasher) -> None:
    assert await hasher.hash("correct horse") != await hasher.hash("correct horse")


@pytest.mark.parametrize(
    "password", ["", "1234567", "a" * 73, "密" * 25, "😀" * 19, "64 emoji" + "😀" * 64, "nul\x00inside"]
)
async def test_a_password_bcrypt_cannot_hold_whole_is_refused(hasher: PasswordHasher, password: str) -> None:
    with pytest.raises(DomainError) as caught:
        await hasher.hash(password)
    assert caught.value.code is Code.INVALID_PARAMETERS
    assert [error.field for error in caught.value.fields] == ["password"]
    assert password not in caught.value.fields[0].zh or password == ""


def test_a_lone_surrogate_is_refused_by_the_field_named() -> None:
    with pytest.raises(DomainError) as caught:
        check_password("12345678\ud800", "user.password")
    assert caught.value.fields[0].field == "user.password"


@pytest.mark.parametrize("candidate", ["a" * 73, "short", "nul\x00inside", "12345678\ud800", "密" * 30])
async def test_verifying_what_could_not_be_a_password_is_false_not_an_error(
    hasher: PasswordHasher, candidate: str
) -> None:
    assert not await hasher.verify(candidate, await hasher.hash("a" * 72))


@pytest.mark.parametrize("broken", ["", "plain text", "$2b$04$short", "$9z$nonsense", "散列"])
async def test_a_corrupt_hash_is_a_mismatch_not_an_error(hasher: PasswordHasher, broken: str) -> None:
    assert not await hasher.verify("correct horse", broken)


async def test_an_unknown_user_costs_one_hash_like_a_known_one(
    hasher: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await hasher.hash("correct horse")
    spent: list[str] = []
    hash_it, check_it = bcrypt.hashpw, bcrypt.checkpw

    def counted_hash(password: bytes, salt: bytes) -> bytes:
        hashed = hash_it(password, salt)
        spent.append("hash")
        return hashed

    def counted_check(password: bytes, hashed: bytes) -> bool:
        matches = check_it(password, hashed)
        spent.append("check")
        return matches

    monkeypatch.setattr(bcrypt, "hashpw", counted_hash)
    monkeypatch.setattr(bcrypt, "checkpw", counted_check)
    for password_hash in (kept, None, None, "corrupt"):
        spent.clear()
        assert not await hasher.verify("wrong password", password_hash)
        assert len(spent) == 1


async def test_more_than_the_queue_holds_is_refused_at_once_with_a_time_to_come_back() -> None:
    with PasswordHasher(8, concurrency=1, queue_limit=2) as hasher:
        outcomes = await asyncio.gather(*(hasher.hash("correct horse") for _ in range(10)), return_exceptions=True)
        hashed = [outcome for outcome in outcomes if isinstance(outcome, str)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
        assert (len(hashed), len(refused)) == (3, 7)
        assert {error.code for error in refused} == {Code.OVERLOADED}
        assert all(error.retry_after is not None and error.retry_after >= 1 for error in refused)
        assert await hasher.verify("correct horse", hashed[0])


async def test_giving_up_on_a_hash_frees_its_place() -> None:
    with PasswordHasher(8, concurrency=1, queue_limit=1) as hasher:
        waiting = [asyncio.create_task(hasher.hash("correct horse")) for _ in range(2)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await hasher.hash("correct horse")


async def test_the_event_loop_keeps_turning_while_hashes_are_made() -> None:
    with PasswordHasher(10, concurrency=2, queue_limit=4) as hasher:
        hashing = asyncio.gather(*(hasher.hash("correct horse") for _ in range(4)))
        turns = 0
        while not hashing.done():
            turns += 1
            await asyncio.sleep(0)
        await hashing
    assert turns > 10
