"""被拒的请求在访问日志里的额度。"""

from __future__ import annotations

from api.http.refused import ADDRESS_BURST, ADDRESS_RATE, MAX_ADDRESSES, TOTAL_BURST, TOTAL_RATE, Bucket, RefusedBudget


def test_an_address_that_spent_its_share_is_refused_and_others_are_not() -> None:
    budget = RefusedBudget()
    while budget.allows("192.0.2.1"):
        budget.spend("192.0.2.1", 50_000)
    assert budget.allows("192.0.2.2")


def test_all_addresses_together_have_a_share() -> None:
    budget = RefusedBudget()
    addresses = (f"2001:db8::{number:x}" for number in range(1_000))
    allowed = 0
    for address in addresses:
        if not budget.allows(address):
            break
        budget.spend(address, TOTAL_BURST // 4 + TOTAL_RATE * 60)
        allowed += 1
    assert allowed <= 4


def test_an_address_that_is_refused_does_not_touch_the_share_of_all() -> None:
    budget = RefusedBudget()
    budget.allows("192.0.2.1")
    budget.spend("192.0.2.1", ADDRESS_BURST + ADDRESS_RATE * 60)
    assert not any(budget.allows("192.0.2.1") for _ in range(1_000))
    assert budget.allows("192.0.2.2")


def test_the_share_grows_back_with_time_but_not_beyond_its_burst() -> None:
    bucket = Bucket(ADDRESS_BURST, ADDRESS_RATE, left=-ADDRESS_RATE * 2.0, at=0.0)
    assert not bucket.has_some(1.9)
    assert bucket.has_some(2.1)
    assert bucket.has_some(1e9)
    assert bucket.left == ADDRESS_BURST


def test_as_many_addresses_as_one_likes_are_remembered_in_bounded_memory() -> None:
    budget = RefusedBudget()
    for number in range(MAX_ADDRESSES * 2):
        budget.allows(str(number))
    assert len(budget.addresses) == MAX_ADDRESSES
