"""账：同一个种子同一本；再交一遍是同样的请求。"""

from __future__ import annotations

from tests.chaos.journal import Kind, OperatorAction, entries


def test_one_seed_is_one_journal_with_every_variety() -> None:
    journal = entries(2_000, 5, ordered=True)
    assert journal == entries(2_000, 5, ordered=True)
    assert {entry.operator_action for entry in journal} == {None, *OperatorAction}
    assert any(entry.others for entry in journal)
    assert any(entry.batched for entry in journal)
    assert any(entry.delay for entry in journal)
    plain = [entry for entry in journal if entry.chain or entry.kind is Kind.USER]
    assert not any(entry.operator_action or entry.delay or entry.batched for entry in plain)


def test_asking_again_asks_the_same() -> None:
    for entry in entries(300, 5, ordered=True):
        assert entry.request() == entry.request()
