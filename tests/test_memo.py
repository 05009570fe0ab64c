"""The memo of pure functions."""

from __future__ import annotations

from server.memo import Memo


def test_it_is_bounded_and_starts_afresh() -> None:
    memo: Memo[int, str] = Memo(1000)
    for number in range(100):
        memo.keep(number, str(number), 100)
        assert len(memo) <= 10
        assert memo[number] == str(number)
    assert memo.get(0) is None


def test_what_is_larger_than_all_of_it_stays_for_one_turn() -> None:
    memo: Memo[str, str] = Memo(1000)
    memo.keep("huge", "x", 5000)
    memo.keep("small", "y", 10)
    assert dict(memo) == {"small": "y"}


def test_it_says_that_it_has_started_afresh() -> None:
    memo: Memo[int, str] = Memo(1000)
    assert [memo.keep(number, "x", 400) for number in range(5)] == [False, False, True, False, True]
    assert list(memo) == [4]
