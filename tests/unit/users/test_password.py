"""口令散列：形状、上限、排队。"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import bcrypt
import pytest

from kaguan.users.password import PasswordHasher, check_password
from kaguan.words.errors import Code, DomainError
from tests.support.eventually import eventually

ROUNDS = 4


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    with PasswordHasher(ROUNDS, concurrency=2, queue_limit=8) as opened:
        yield opened


@pytest.mark.parametrize("password", ["12345678", "a" * 72, "密" * 24, "😀" * 18, "with space and é"])
async def test_a_password_within_the_limits_hashes_and_verifies(hasher: PasswordHasher, password: str) -> None:
    kept = await hasher.hash(password)
    assert kept.startswith(f"$2b$0{ROUNDS}$")
    assert bcrypt.checkpw(password.encode(), kept.encode())
    assert not bcrypt.checkpw((password[:-1] + "x").encode(), kept.encode())


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


async def test_more_than_the_queue_holds_is_refused_at_once_with_a_time_to_come_back() -> None:
    with PasswordHasher(8, concurrency=1, queue_limit=2) as hasher:
        outcomes = await asyncio.gather(*(hasher.hash("correct horse") for _ in range(10)), return_exceptions=True)
        hashed = [outcome for outcome in outcomes if isinstance(outcome, str)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
        assert (len(hashed), len(refused)) == (3, 7)
        assert {error.code for error in refused} == {Code.OVERLOADED}
        assert all(error.retry_after is not None and error.retry_after >= 1 for error in refused)
        assert bcrypt.checkpw(b"correct horse", hashed[0].encode())


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

        async def kept_turning() -> bool:
            """哪一回本线程自己没有轮到处理器，就再来一回。"""
            hashing = asyncio.gather(*(hasher.hash("correct horse") for _ in range(4)))
            turns = 0
            while not hashing.done():
                turns += 1
                await asyncio.sleep(0)
            await hashing
            return turns > 10

        await eventually(kept_turning)
