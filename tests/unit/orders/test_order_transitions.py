"""订单状态机：全部迁移的矩阵。"""

from __future__ import annotations

import itertools

import pytest

from kaguan.orders.model import TRANSITIONS, OrderStatus
from kaguan.orders.service import check_transition
from kaguan.words.currency import CURRENCIES, DEFAULT_CURRENCY
from kaguan.words.errors import Code, DomainError

ALLOWED = {
    ("pending", "paid"),
    ("paid", "processing"),
    ("processing", "completed"),
    ("pending", "cancelled"),
    ("paid", "cancelled"),
}


@pytest.mark.parametrize(("current", "wanted"), list(itertools.product(OrderStatus, OrderStatus)))
def test_exactly_the_moves_of_the_contract_are_allowed(current: OrderStatus, wanted: OrderStatus) -> None:
    if (current, wanted) in ALLOWED:
        check_transition(current, wanted)
        return
    with pytest.raises(DomainError) as caught:
        check_transition(current, wanted)
    assert caught.value.code is Code.CONFLICT
    assert caught.value.fields[0].field == "status"
    assert current in caught.value.zh
    assert wanted in caught.value.en


def test_every_status_has_its_row_and_the_ends_are_ends() -> None:
    assert set(TRANSITIONS) == set(OrderStatus)
    assert not TRANSITIONS[OrderStatus.COMPLETED]
    assert not TRANSITIONS[OrderStatus.CANCELLED]


def test_currencies_are_three_capital_letters_and_hold_the_default() -> None:
    assert DEFAULT_CURRENCY in CURRENCIES
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCIES)
