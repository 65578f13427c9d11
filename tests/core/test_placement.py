"""Placement: exact amounts, cards, and what shrinking and growing leave behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.placement import UNIT, Pool, request_of, worded


def pool_of(**totals: float) -> Pool:
    pool = Pool()
    pool.resize(totals)
    return pool


def test_requests_are_canonical() -> None:
    assert request_of({"gpu": 0.5, "cpu": 2}) == request_of({"cpu": 2.0, "gpu": 0.5, "tpu": 0}) == (("cpu", 20_000), ("gpu", 5_000))
    assert request_of({}) == request_of({"cpu": 1e-9}) == ()


def test_five_fifths_fill_one_card_exactly() -> None:
    pool = pool_of(cpu=8, gpu=2)
    fifth = request_of({"cpu": 1, "gpu": 0.2})
    taken = [pool.take(fifth) for _ in range(5)]
    assert taken == [((0, 0.2),)] * 5
    assert pool.cards == [0, UNIT]
    assert pool.fits(request_of({"gpu": 1}))
    assert pool.take(fifth) == ((1, 0.2),)
    assert not pool.fits(request_of({"gpu": 1}))


def test_fractions_never_span_cards() -> None:
    pool = pool_of(gpu=2)
    pool.take(request_of({"gpu": 0.6}))
    pool.take(request_of({"gpu": 0.6}))
    assert pool.cards == [4_000, 4_000]
    assert not pool.fits(request_of({"gpu": 0.5}))
    assert pool.room(request_of({"gpu": 0.4}), 9) == 2


def test_a_fraction_goes_to_the_fullest_card_that_holds_it() -> None:
    pool = pool_of(gpu=3)
    pool.take(request_of({"gpu": 0.5}))
    pool.take(request_of({"gpu": 1}))
    assert pool.take(request_of({"gpu": 0.5})) == ((0, 0.5),)


def test_whole_cards() -> None:
    pool = pool_of(gpu=3)
    assert pool.take(request_of({"gpu": 2})) == ((0, 1.0), (1, 1.0))
    assert not pool.fits(request_of({"gpu": 2}))
    assert pool.room(request_of({"gpu": 1}), 9) == 1


@pytest.mark.parametrize("amount", [1.5, 2.2])
def test_more_than_one_card_must_be_whole(amount: float) -> None:
    pool, request = pool_of(gpu=4), request_of({"gpu": amount})
    assert not pool.fits(request)
    assert not pool.possible(request)
    assert pool.room(request, 9) == 0


def test_part_of_a_card_in_the_totals_counts_for_nothing() -> None:
    pool, half = pool_of(gpu=0.5), request_of({"gpu": 0.5})
    assert not pool.possible(half)
    assert not pool.fits(half)


def test_take_what_does_not_fit() -> None:
    pool = pool_of(cpu=1)
    with pytest.raises(ValueError, match="does not fit"):
        pool.take(request_of({"cpu": 2}))
    assert pool.used == {}


def test_room_is_bounded_by_every_resource() -> None:
    pool = pool_of(cpu=8, gpu=1, ram=10)
    assert pool.room(request_of({"cpu": 2, "ram": 5}), 100) == 2
    assert pool.room(request_of({"cpu": 2, "gpu": 0.25}), 100) == 4
    assert pool.room(request_of({"cpu": 1}), 3) == 3
    assert pool.room((), 7) == 7
    assert pool.room(request_of({"tpu": 1}), 7) == 0


def test_shrinking_leaves_tenants_and_growing_again_frees_the_card() -> None:
    pool, whole = pool_of(gpu=2), request_of({"gpu": 1})
    first, second = pool.take(whole), pool.take(whole)
    pool.resize({"gpu": 1})
    assert pool.oversubscribed()
    assert pool.cards == [0, -UNIT]
    pool.give(whole, second)
    assert not pool.oversubscribed()
    pool.resize({"gpu": 2})
    assert pool.cards == [0, UNIT]  # a card that went while it was free comes back free
    pool.give(whole, first)
    assert pool.cards == [UNIT, UNIT]


def test_cards_that_vanish_while_used_come_back_used() -> None:
    pool, half = pool_of(gpu=2), request_of({"gpu": 0.5})
    gpus = [pool.take(half) for _ in range(3)]
    pool.resize({"cpu": 1})
    assert pool.cards == [-UNIT, -5_000]
    pool.resize({"gpu": 3})
    assert pool.cards == [0, 5_000, UNIT]
    for one in gpus:
        pool.give(half, one)
    assert pool.cards == [UNIT] * 3


def test_a_card_that_is_out_is_never_leased() -> None:
    pool, whole, half = pool_of(gpu=3), request_of({"gpu": 1}), request_of({"gpu": 0.5})
    pool.resize({"gpu": 3}, out=[0])
    assert pool.cards == [0, UNIT, UNIT]
    assert pool.totals == {"gpu": 2 * UNIT}
    assert pool.take(half) == ((1, 0.5),)
    assert pool.take(whole) == ((2, 1.0),)
    assert pool.room(half, 9) == 1
    assert not pool.possible(request_of({"gpu": 3}))
    assert not pool.oversubscribed()
    pool.resize({"gpu": 3})
    assert pool.take(whole) == ((0, 1.0),)


def test_a_card_that_goes_out_while_it_is_used() -> None:
    pool, half = pool_of(gpu=2), request_of({"gpu": 0.5})
    one, two = pool.take(half), pool.take(half)
    pool.resize({"gpu": 2}, out=[0, 7])
    assert pool.out == {0}  # there is no card 7
    assert pool.cards == [-UNIT, UNIT]
    assert pool.oversubscribed()
    pool.give(half, one)
    assert not pool.fits(request_of({"gpu": 2}))
    pool.resize({"gpu": 2})
    assert pool.cards == [5_000, UNIT]
    pool.give(half, two)
    assert pool.cards == [UNIT, UNIT]


def test_what_there_is_in_words() -> None:
    pool = pool_of(cpu=4, gpu=4, memory=8.5 * 2**30)
    assert pool.whole() == "cpu 4, gpu 4, memory 8.5 GiB in all"
    pool.resize({"gpu": 4}, out=(3, 1))
    assert pool.whole() == "gpu 2 in all (GPU cards 1, 3 are quarantined)"
    assert pool_of().whole() == "nothing in all"
    assert worded({"gpu": 1e-9, "cpu": 0.5}) == "cpu 0.5, gpu 1e-09"


amounts = st.fixed_dictionaries({"cpu": st.sampled_from([0.0, 0.5, 1.0, 3.0]), "gpu": st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 2.0])})
steps = st.lists(st.tuples(st.sampled_from(["take", "give", "resize", "out"]), amounts, st.integers(0, 4)), max_size=40)


@given(steps)
def test_take_and_give_are_exact_inverses(plan: list[tuple[str, dict[str, float], int]]) -> None:
    pool = pool_of(cpu=4, gpu=3)
    held = []
    size = 3
    out: set[int] = set()
    for do, resources, number in plan:
        request = request_of(resources)
        if do == "take" and pool.fits(request):
            assert pool.possible(request)
            assert pool.room(request, 5) >= 1
            held.append((request, pool.take(request)))
            assert all(card < size and card not in out for card, _ in held[-1][1])
        elif do == "give" and held:
            pool.give(*held.pop(number % len(held)))
        elif do == "resize":
            size, out = number, set()
            pool.resize({"cpu": size, "gpu": size})
        elif do == "out":
            out = {number, number // 2}
            pool.resize({"cpu": size, "gpu": size}, out)
        assert pool.totals["gpu"] == sum(map(pool.capacity, range(9)))
        for name in ("cpu", "gpu"):
            assert pool.used.get(name, 0) == sum(dict(request).get(name, 0) for request, _ in held)
    for request, gpus in held:
        pool.give(request, gpus)
    pool.resize({"cpu": 4, "gpu": 3})
    assert pool.cards == [UNIT] * 3
    assert not any(pool.used.values())
    assert not pool.oversubscribed()
