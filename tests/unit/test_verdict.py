"""The statistics of a comparison, and its verdict, which is refused for each fault by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from math import comb, exp, inf, isnan, log, log10, nan, sqrt
from random import Random
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from scratchopt.compare.analysis import (
    GOOD_COST_FACTOR,
    compute_profiles,
    count_inexact,
    expect_best_of_k,
    find_best_default,
    measure_sensitivity,
)
from scratchopt.compare.comparison import Comparison, Contest, Study
from scratchopt.compare.nesting import DECISIVE, INCLUDED
from scratchopt.compare.ranking import rank_optimizers
from scratchopt.compare.runs import FAILURES, Reading, ScoredRun
from scratchopt.compare.statistics import (
    Interval,
    difference_interval,
    holm,
    mann_whitney,
    mean_interval,
    median_interval,
    min_p,
)
from scratchopt.compare.verdict import reach_verdict
from scratchopt.compare.verdict_checks import CHECKS
from scratchopt.objective import Objective
from tests.shared import commands
from tests.shared.made_comparisons import make_result, make_run
from tests.shared.paths import OPTIMIZERS

stats = pytest.importorskip("scipy.stats")

LOSS = Objective("val/loss", "min", 0.5)
ACCURACY = Objective("val/accuracy", "max", 0.9)
LR, MOMENTUM = "optimizer.lr", "optimizer.momentum"
FAST = [100.0, 102.0, 104.0, 106.0, 108.0, 110.0, 112.0, 114.0, 116.0, 118.0]
SLOW = [200.0 + x for x in FAST]


def run(
    cost: float,
    seed: int = 0,
    lr: float = 0.1,
    value: float = 0.4,
    status: str = "finished",
    resolution: float = 1e-9,
) -> ScoredRun:
    """A run that reaches the target after that cost, or never; its last reading, and a void one."""
    at = Reading(int(min(cost, 1000)), min(cost, 1000.0), 0.0, value)
    before = Reading(at.steps - 1, at.cost - resolution, 0.0, nan)
    hit = None if cost == inf or status in FAILURES else at
    result = make_result(seed=seed, status=status, cost=1000.0)
    return ScoredRun(result, (before, at), hit, {LR: lr})


def study(name: str, costs: Sequence[float], **others: Any) -> Study:
    """An optimizer that was not tuned, with a run for each cost."""
    values = [0.6 + 0.01 * seed if cost == inf else 0.4 for seed, cost in enumerate(costs)]
    runs = tuple(
        run(cost, seed, value=v) for seed, (cost, v) in enumerate(zip(costs, values, strict=True))
    )
    return replace(Study(name, {LR: 0.1}, (), {LR: 0.1}, (), runs, ()), **others)


def contest(*studies: Study, objective: Objective = LOSS) -> Contest:
    return Contest("quadratic", objective, studies)


# Intervals


def test_the_interval_of_a_mean_is_scipys_bca_and_always_the_same():
    values = [0.97, 0.972, 0.969, 0.98, 0.975]
    expected = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0))
    found = mean_interval(values)
    assert found == mean_interval(values)
    assert found.value == pytest.approx(mean(values), rel=1e-15)
    assert (found.low, found.high) == tuple(expected.confidence_interval)


def test_the_interval_of_many_normal_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).standard_normal(2000).tolist()
    found = mean_interval(values)
    half = 1.96 * stdev(values) / sqrt(2000)
    assert found.low == pytest.approx(mean(values) - half, abs=0.05 * half)
    assert found.high == pytest.approx(mean(values) + half, abs=0.05 * half)


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [3.0] * 10, [1.0, 2.0, inf]])
def test_two_values_equal_values_and_misses_have_no_interval_of_the_mean(values):
    assert mean_interval(values) == Interval(mean(values))


def test_the_interval_of_a_difference_is_welchs():
    first, second = [3.0, 4.0, 7.0, 4.5], [1.0, 2.5, 2.0, 2.2, 9.0]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    found = difference_interval(first, second)
    assert found.value == pytest.approx(mean(first) - mean(second), rel=1e-14)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], -0.5),  # fewer than three
        ([1.0] * 3, [2.0] * 4, -1.0),  # no spread
        ([1.0, 2.0, inf], [1.0, 2.0, 3.0], nan),  # a miss
        ([], [1.0, 2.0, 3.0], nan),
    ],
)
def test_of_some_differences_there_is_no_interval(first, second, value):
    found = difference_interval(first, second)
    assert found.value == pytest.approx(value, nan_ok=True)
    assert (found.low, found.high) == (None, None)


def test_a_pair_has_the_ratio_of_its_geometric_means_and_can_be_turned_round():
    found = rank_optimizers(contest(study("a", FAST), study("b", SLOW)), "cost")
    ours, theirs = ([log(x) for x in costs] for costs in (FAST, SLOW))
    [pair] = found.pairs
    assert pair.interval.value == pytest.approx(exp(mean(ours) - mean(theirs)))
    assert pair.interval.low is not None
    assert pair.interval.low < pair.interval.value
    turned, straight = found.compare_means("b", "a"), found.compare_means("a", "b")
    assert straight == pair.interval
    ends = [1 / end for end in (straight.value, straight.high, straight.low) if end]
    assert [turned.value, turned.low, turned.high] == pytest.approx(ends)


def test_nothing_has_neither_mean_nor_median():
    assert isnan(mean_interval([]).value)
    assert isnan(median_interval([]).value)


@pytest.mark.parametrize(("n", "k"), [(6, 1), (9, 2), (10, 2), (20, 6), (30, 10)])
def test_the_interval_of_a_median_lies_between_order_statistics_that_cover_it(n: int, k: int):
    values = Random(0).sample([float(i) for i in range(1, n + 1)], n)
    assert median_interval(values) == Interval((n + 1) / 2, k, n + 1 - k)
    outside = 2 * sum(comb(n, i) for i in range(k)) / 2**n
    further_in = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert outside <= 0.05 < further_in


def test_misses_are_infinite_in_a_median_and_in_its_interval():
    assert median_interval([1, 2, 3, 4, 5, 6, 7, inf, inf, inf]) == Interval(5.5, 2, inf)
    assert median_interval([1, 2, inf, inf, inf]) == Interval(inf)
    assert median_interval([inf] * 10) == Interval(inf, inf, inf)


def test_five_values_have_no_interval_of_the_median():
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == Interval(3.0)


def test_an_interval_is_below_another_if_all_of_it_is_and_both_are_known():
    assert Interval(1, 0, 2).is_below(Interval(3, 2.1, 4))
    assert not Interval(1, 0, 2).is_below(Interval(3, 2, 4))
    assert not Interval(3, 2.1, 4).is_below(Interval(1, 0, 2))
    assert not Interval(1).is_below(Interval(3, 2.1, 4))
    assert not Interval(1, 0, 2).is_below(Interval(3))


# Tests


def enumerated(first: list[float], second: list[float]) -> float:
    """The p, by all ways to choose the first sample's ranks."""
    ranks = stats.rankdata(first + second)
    centre = len(first) * (len(ranks) + 1) / 2
    far = abs(sum(ranks[: len(first)]) - centre)
    sums = [sum(chosen) for chosen in combinations(ranks, len(first))]
    return sum(abs(total - centre) >= far - 1e-9 for total in sums) / len(sums)


@pytest.mark.parametrize("seed", range(20))
def test_p_is_exact_with_ties_and_misses(seed: int):
    chance = Random(seed)
    values = [1.0, 2.0, 3.0, 4.0, inf]
    first = [chance.choice(values[:4]) for _ in range(chance.randint(1, 6))]
    second = [chance.choice(values[1:]) for _ in range(chance.randint(1, 6))]
    assert mann_whitney(first, second) == pytest.approx(enumerated(first, second), rel=1e-13)


@pytest.mark.parametrize("n", [3, 10, 25])
def test_p_is_scipys_without_ties(n: int):
    draws = np.random.default_rng(n)
    first, second = draws.standard_normal(n), draws.standard_normal(n + 2) + 0.6
    expected = stats.mannwhitneyu(first, second, method="exact").pvalue
    assert mann_whitney(list(first), list(second)) == pytest.approx(expected, rel=1e-11)


def test_the_least_p_is_that_of_separate_samples():
    assert mann_whitney(FAST, SLOW) == pytest.approx(min_p(10, 10), rel=1e-15)
    assert min_p(10, 10) == 2 / 184756
    assert min_p(1, 1) == 1.0


@pytest.mark.parametrize(("first", "second"), [([], [1.0]), ([1.0], []), ([1.0], [float("nan")])])
def test_no_p_of_nothing_or_of_no_number(first, second):
    with pytest.raises(ValueError, match="must be two samples"):
        mann_whitney(first, second)


def test_holms_correction_by_hand():
    # Sorted: 0.005·4 = 0.02, 0.01·3 = 0.03, 0.03·2 = 0.06, 0.04·1 is less than that
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-15)
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_correction_is_over_all_pairs_and_the_margin_is_the_standard_error_of_the_trials():
    trials = (run(1.0), run(2.0))
    first, second = [100.0, 101, 102, 103, 104, 105], [103.5, 104.5, 105.5, 106.5, 107.5, 108.5]
    found = rank_optimizers(contest(study("a", first), study("b", second)), "cost")
    assert found.pairs[0].p == pytest.approx(enumerated(first, second), rel=1e-13)
    logs = [[log(x) for x in sample] for sample in (first, second)]
    pooled = sqrt((stdev(logs[0]) ** 2 + stdev(logs[1]) ** 2) / 2)
    shifted = [x * exp(pooled / sqrt(2)) for x in first]
    tuned = [study(n, c, trials=trials) for n, c in (("a", first), ("b", second), ("c", second))]
    found = rank_optimizers(contest(*tuned), "cost")
    p = enumerated(shifted, second)
    assert p > 2 * enumerated(first, second)
    assert [pair.p for pair in found.pairs] == pytest.approx([p, p, 1.0], rel=1e-13)
    assert [pair.corrected for pair in found.pairs] == pytest.approx(
        [min(1, 3 * p), min(1, 3 * p), 1.0]
    )


def test_a_lead_within_the_margin_has_p_1():
    trials = (run(1.0), run(2.0))
    a, b = (study(n, c, trials=trials) for n, c in (("a", FAST), ("b", [x + 0.5 for x in FAST])))
    assert rank_optimizers(contest(a, b), "cost").pairs[0].p == 1.0


def test_a_difference_of_one_validation_is_none():
    def by(cost: float, resolution: float) -> Study:
        runs = tuple(run(cost, i, value=0.1 + 0.01 * i, resolution=resolution) for i in range(10))
        return study(str(cost), [], tuned=runs)

    assert rank_optimizers(contest(by(33, 1), by(34, 1)), "cost").pairs[0].p == 1.0
    assert rank_optimizers(contest(by(33, 0.1), by(34, 1)), "cost").pairs[0].p == 1.0
    assert rank_optimizers(contest(by(33, 1), by(35, 1)), "cost").pairs[0].p == min_p(10, 10)
    assert rank_optimizers(contest(by(33, 0.5), by(34, 0.5)), "cost").pairs[0].p == min_p(10, 10)


def test_the_margin_is_no_less_than_what_the_loser_s_runner_up_is_better_by():
    # The loser's chosen lr was lucky in its trials; another had 110 in two, its runs have 309.
    lucky = (run(90.0, lr=0.1), run(95.0, lr=0.1, seed=1))
    others = (run(100.0, lr=0.3), run(121.0, lr=0.3, seed=1), run(1.0, lr=0.01))
    loser = study("b", SLOW, trials=lucky + others)
    found = rank_optimizers(contest(study("a", FAST), loser), "cost")
    level = exp(mean(log(x) for x in SLOW))
    shifted = [x * level / 110 for x in FAST]
    assert found.pairs[0].p == pytest.approx(mann_whitney(shifted, SLOW), rel=1e-12)
    assert found.pairs[0].p > 100 * mann_whitney(FAST, SLOW)
    assert rank_optimizers(contest(study("a", [x / 2 for x in FAST]), loser), "cost").best == "a"
    trials = (run(inf, value=0.5), run(inf, lr=0.3, value=0.9))
    low, high = (
        tuple(run(inf, i, value=middle + 0.001 * i) for i in range(10)) for middle in (0.7, 0.8)
    )
    worse, better = study("a", [], tuned=low, trials=trials), study("b", [], tuned=high)
    found = rank_optimizers(contest(worse, better, objective=ACCURACY), "metric")
    assert found.pairs[0].p == 1.0


def test_a_loser_whose_other_setting_reached_what_its_own_missed_is_no_loser():
    trials = (run(90.0, lr=0.1), run(95.0, lr=0.1, seed=1))
    trials += (run(100.0, lr=0.3), run(121.0, lr=0.3, seed=1))
    few = study("b", [*SLOW[:8], inf, inf], trials=trials)
    found = rank_optimizers(contest(study("a", FAST), few), "cost").pairs[0]
    level = (few.tuned[4].cost_to_target + few.tuned[5].cost_to_target) / 2
    shifted = [x * level / 110 for x in FAST]
    assert found.p == pytest.approx(mann_whitney(shifted, [*SLOW[:8], inf, inf]), rel=1e-12)
    most = study("b", [*SLOW[:4], *[inf] * 6], trials=trials)
    assert rank_optimizers(contest(study("a", FAST), most), "cost").pairs[0].p == 1.0


# The verdict


def reasons_of(found: Contest, decide: str = "cost") -> tuple[str, ...]:
    verdict = reach_verdict(found, decide)
    assert (verdict.winner is None) == bool(verdict.reasons)
    return verdict.reasons


def test_the_faster_one_wins_with_its_figures():
    verdict = reach_verdict(
        contest(study("sgd", SLOW), study("adam", FAST), study("other", SLOW)), "cost"
    )
    assert verdict.winner == "adam"
    assert verdict.reasons == ()
    assert verdict.statement == (
        "adam is the best on quadratic: 109 gradient evaluations to the target, the median of 10 "
        "seeds; sgd 309 (p < 0.0001), other 309 (p < 0.0001)."
    )
    first, second, third = verdict.pairs
    assert (first.first, first.second, first.better) == ("sgd", "adam", "adam")
    assert first.ratio == pytest.approx(309 / 109)
    assert first.corrected == pytest.approx(3 * min_p(10, 10))
    assert (second.first, second.second, second.better, second.p) == ("sgd", "other", None, 1.0)
    assert (third.first, third.second, third.better) == ("adam", "other", "adam")


def test_misses_lose():
    assert reach_verdict(contest(study("a", FAST), study("b", [inf] * 10)), "cost").winner == "a"
    partly = [inf] * 8 + FAST[:2]
    assert reach_verdict(contest(study("a", FAST), study("b", partly)), "cost").winner is None


@pytest.mark.parametrize(("objective", "winner"), [(LOSS, "a"), (ACCURACY, "b")])
def test_the_metric_decides_in_its_own_mode(objective: Objective, winner: str):
    low = tuple(run(inf, i, value=0.80 + 0.001 * i) for i in range(10))
    high = tuple(run(inf, i, value=0.90 + 0.001 * i) for i in range(10))
    a, b = study("a", [], tuned=low), study("b", [], tuned=high)
    verdict = reach_verdict(contest(a, b, objective=objective), "metric")
    assert verdict.winner == winner
    assert verdict.pairs[0].ratio == pytest.approx(0.8045 / 0.9045)


def near(costs: Sequence[float]) -> list[float]:
    """Costs a little above, a win by none."""
    return [x + 1 for x in costs]


@pytest.mark.parametrize(
    ("faulty", "sound", "check", "words"),
    [
        (
            [study("a", FAST)],
            [study("a", FAST), study("b", SLOW)],
            "check_studies",
            "There is one optimizer alone.",
        ),
        (
            [study("a", FAST), study("b", SLOW), study("c", [], chosen=None)],
            [study("a", FAST), study("b", SLOW), study("c", SLOW)],
            "check_studies",
            "No trial of c came to anything",
        ),
        (
            [study("a", FAST[:2]), study("b", SLOW[:2])],
            [study("a", FAST), study("b", SLOW)],
            "check_seeds",
            "2 seeds: fewer than 3",
        ),
        (
            [study("a", FAST[:3]), study("b", SLOW[:3])],
            [study("a", FAST[:4]), study("b", SLOW[:4])],
            "check_seeds",
            "3 seeds: the least p that they can have is 0.10: seeds=4 is",
        ),
        (
            [study("a", FAST), study("b", near(FAST))],
            [study("a", FAST), study("b", SLOW)],
            "check_significance",
            "a (109) is not significantly better than b (110; p = ",
        ),
        (
            [study("a", FAST, edges=(LR,)), study("b", SLOW)],
            [study("a", FAST), study("b", SLOW)],
            "check_edges",
            "a is undertuned: its best optimizer.lr=0.1 is on the edge",
        ),
        (
            [study("a", FAST), study("b", SLOW, edges=(LR,))],
            [study("a", FAST), study("b", SLOW)],
            "check_edges",
            "b is undertuned",
        ),
        (
            [study("sgd", FAST), study("adam", SLOW)],
            [study("sgd", SLOW), study("adam", FAST)],
            "check_nesting",
            "adam is undertuned: it includes sgd, yet is worse (309 to 109, p < 0.0001)",
        ),
        (
            [study("c", FAST), study("sgd", SLOW), study("nag", [200 + x for x in SLOW])],
            [study("c", FAST), study("sgd", SLOW), study("nag", SLOW)],
            "check_nesting",
            "nag is undertuned: it includes sgd",
        ),
        (
            [study("a", [100.0] * 10), study("b", [200.0] * 10)],
            [study("a", FAST), study("b", SLOW)],
            "check_spread",
            "All 10 runs of a are the same, whatever the seed",
        ),
        (
            [study("a", [inf] * 10), study("b", [inf] * 10)],
            [study("a", FAST), study("b", [inf] * 9 + [900.0])],
            "check_target",
            "No run reached the target 0.5",
        ),
        (
            [
                study("a", FAST, tuned=(*study("a", FAST).tuned[:9], run(1.0, status="diverged"))),
                study("b", SLOW),
            ],
            [
                study("a", FAST),
                study("b", SLOW, tuned=(*study("b", SLOW).tuned[:9], run(1.0, status="diverged"))),
            ],
            "check_failures",
            "1 of 10 runs of a diverged.",
        ),
        (
            [
                study("a", FAST),
                study("b", SLOW, tuned=(*study("b", SLOW).tuned[:9], run(1.0, status="failed"))),
            ],
            [study("a", FAST), study("b", SLOW)],
            "check_failures",
            "1 of 10 runs of b ended in an error.",
        ),
    ],
)
def test_a_fault_forbids_a_winner_and_its_removal_gives_one(faulty, sound, check, words):
    assert any(reason.startswith(words) for reason in reasons_of(contest(*faulty)))
    assert reasons_of(contest(*sound)) == ()
    reasons = next(r for r in CHECKS if r.__name__ == check)(
        rank_optimizers(contest(*faulty), "cost")
    )
    assert any(reason.startswith(words) for reason in reasons)


def test_an_interval_that_includes_1_alone_forbids_a_winner():
    # p = 0.003, and yet the one run of 600 may have the ratio of the means be 1
    first, second = [*FAST[:9], 600.0], [x + 12 for x in FAST]
    found = contest(study("a", first), study("b", second))
    reasons = reasons_of(found)
    assert mann_whitney(first, second) < 0.05
    assert len(reasons) == 1
    assert reasons[0].startswith(
        "The 95 % interval of the ratio of the mean costs to the target, a's to b's, includes 1: ["
    )
    assert reasons_of(contest(study("a", FAST), study("b", second))) == ()


def test_an_interval_of_metrics_is_of_one_minus_the_other():
    def of_values(name: str, first: float) -> Study:
        runs = (run(100.0, seed, value=first + 0.01 * seed) for seed in range(10))
        return replace(study(name, []), tuned=tuple(runs))

    reasons = reasons_of(contest(of_values("a", 0.3), of_values("b", 0.301)), "metric")
    begin = "The 95 % interval of the difference of the mean metrics at the end, a's minus b's, "
    assert any(reason.startswith(f"{begin}includes 0: [−") for reason in reasons)


def test_a_mean_on_the_wrong_side_forbids_a_winner():
    first = [100.0 + i / 4 for i in range(25)] + [950.0 + i for i in range(10)]
    second = [112.0 + i / 4 for i in range(35)]
    assert mann_whitney(first, second) < 0.05
    [reason] = reasons_of(contest(study("a", first), study("b", second)))
    assert "a's to b's, lies the other way round than the runs rank: [" in reason


def at_defaults(*costs: float) -> dict[str, Any]:
    """Runs at the default settings, the chosen ones being others."""
    runs = tuple(run(cost, seed, lr=0.3, value=0.4) for seed, cost in enumerate(costs))
    return {"untuned": runs, "default": {LR: 0.3}}


def test_tuned_runs_that_are_worse_than_the_defaults_forbid_a_winner():
    a = study("a", FAST)
    [reason] = reasons_of(contest(a, study("b", SLOW, **at_defaults(*near(FAST)))))
    assert reason == (
        "b is undertuned: its tuned runs are worse than those at its default settings "
        "(309 to 110, p < 0.0001); try a larger budget."
    )
    assert reasons_of(contest(a, study("b", SLOW, **at_defaults(*near(SLOW))))) == ()
    same = {**at_defaults(*FAST), "default": {LR: 0.1}}
    assert reasons_of(contest(a, study("b", SLOW, **same))) == ()  # the chosen ones are the default


def test_more_misses_than_at_the_defaults_forbid_a_winner():
    a, some = study("a", FAST), [*SLOW[:8], inf, inf]
    reasons = reasons_of(contest(a, study("b", some, **at_defaults(*SLOW[:9], inf))))
    assert (
        "b is undertuned: its tuned runs are worse than those at its default settings "
        "(2 of 10 missed the target or failed, of the others 1); try a larger budget."
    ) in reasons
    assert "undertuned" not in " ".join(
        reasons_of(contest(a, study("b", some, **at_defaults(*SLOW[:8], inf, inf))))
    )


def test_defaults_that_were_stopped_are_worse_than_every_tuned_run():
    b = study("b", SLOW, **at_defaults(*[900.0] * 10))
    b = replace(b, untuned=tuple(r.truncate(400.0) for r in b.untuned))
    assert all(r.stopped for r in b.untuned)
    assert reasons_of(contest(study("a", FAST), b)) == ()


def test_runs_that_are_one_have_no_p_and_more_seeds_are_no_remedy():
    found = contest(study("a", [100.0] * 4), study("b", [200.0] * 4), study("c", SLOW[:4]))
    assert {pair.p for pair in rank_optimizers(found, "cost").pairs[:2]} == {1.0}
    reasons = " ".join(reasons_of(found))
    assert "All 4 runs of a are the same" in reasons
    assert "seeds" not in reasons.replace("whatever the seed", "")


def test_what_is_not_known_of_several_is_said_once():
    few = [study(name, [*SLOW[:4], inf]) for name in "bcdefgh"]
    reasons = reasons_of(contest(study("a", FAST[:5]), *few))
    [unknown] = [reason for reason in reasons if reason.startswith("No 95 % intervals")]
    assert "of a and b, c, d, e and 3 others are known" in unknown
    assert unknown.endswith("all came to the same: seeds=6.")
    assert max(map(len, reasons)) < 400


def test_intervals_that_include_1_are_named_up_to_four():
    others = [study(name, [x + 2 for x in FAST]) for name in "bcdefg"]
    reasons = reasons_of(contest(study("a", FAST), *others))
    assert sum("includes 1" in reason for reason in reasons) == 4
    assert "The same holds for a and 2 others." in reasons


def test_a_winner_to_the_target_that_ends_worse_is_told_so():
    def ends(found: Study, value: float) -> Study:
        last = Reading(2000, 2000.0, 0.0, value)
        runs = enumerate(found.tuned)
        return replace(
            found,
            tuned=tuple(
                replace(r, readings=(*r.readings, replace(last, value=value + i / 1000)))
                for i, r in runs
            ),
        )

    verdict = reach_verdict(
        contest(ends(study("a", FAST), 0.3), ends(study("b", SLOW), 0.2)), "cost"
    )
    assert verdict.winner == "a"
    assert "Yet at the end b (0.2045) has the better val/loss, a 0.3045." in verdict.statement
    verdict = reach_verdict(
        contest(ends(study("a", FAST), 0.3), ends(study("b", SLOW), 0.4)), "cost"
    )
    assert "Yet" not in verdict.statement


def of_batch(found: Study, batch: int | None, cost: float = 1000.0) -> Study:
    sizes = {} if batch is None else {"task.batch_size": batch}
    return replace(
        found,
        tuned=tuple(
            replace(r, result=replace(r.result, hyperparameters=sizes, cost=cost))
            for r in found.tuned
        ),
    )


def test_evaluations_of_unequal_batches_forbid_a_winner():
    a, b = study("a", FAST), study("b", SLOW)
    [reason] = reasons_of(contest(of_batch(a, 2048), of_batch(b, 128)))
    assert reason.startswith("An evaluation is of a batch of 2048 for a, 128 for b: give all")
    assert reasons_of(contest(of_batch(a, 128), of_batch(b, 128))) == ()


def test_a_miss_that_ended_before_the_leader_s_hit_is_none():
    a, b = study("a", FAST), study("b", [inf] * 10)
    [reason] = reasons_of(contest(a, of_batch(b, None, 110.0)))
    assert reason == (
        "Runs of b that missed the target ended after 110 evaluations, before a reached it (118): "
        "a greater max_steps."
    )
    assert reasons_of(contest(a, of_batch(b, None, 118.0))) == ()


def test_metrics_at_unequal_costs_forbid_a_winner():
    low, high = (
        study(name, [], tuned=tuple(run(inf, i, value=middle + 0.001 * i) for i in range(10)))
        for name, middle in (("low", 0.8), ("high", 0.9))
    )
    [reason] = reasons_of(contest(of_batch(low, None, 3000.0), high), "metric")
    assert reason.startswith("low came to its metric in 3,000 evaluations, high in 1,000")
    assert reasons_of(contest(low, of_batch(high, None, 3000.0)), "metric") == ()


def test_with_misses_it_is_the_medians_that_must_not_overlap():
    found = contest(study("a", [*FAST[:9], inf]), study("b", [x + 12 for x in FAST]))
    assert "intervals of the median costs" in " ".join(reasons_of(found))


def test_equal_costs_of_different_runs_are_no_deterministic_task():
    a, b = (
        study(n, [], tuned=tuple(run(cost, i, value=0.1 + 0.01 * i) for i in range(10)))
        for n, cost in (("a", 100.0), ("b", 120.0))
    )
    assert reasons_of(contest(a, b)) == ()


def test_an_inclusion_names_what_is_to_be_searched_too():
    found = contest(study("sgd", FAST), study("momentum", SLOW))
    assert reasons_of(found)[0].endswith(
        "; try a larger budget, and a search of optimizer.momentum too."
    )
    searched = study("momentum", SLOW, default={LR: 0.1, MOMENTUM: 0.9})
    assert reasons_of(contest(study("sgd", FAST), searched))[0].endswith("; try a larger budget.")


def test_inclusion_names_optimizers_that_there_are_and_is_transitive():
    there = set(OPTIMIZERS)
    assert set(INCLUDED) == set(DECISIVE) <= there
    for general, special in INCLUDED.items():
        assert set(special) < there
        for name in special:
            assert set(INCLUDED.get(name, ())) <= set(special), general


def test_four_who_are_alike_but_for_one_have_six_pairs_and_a_winner():
    alike = [study(name, [x + i for x in SLOW]) for i, name in enumerate("bcd")]
    verdict = reach_verdict(contest(*alike, study("a", FAST)), "cost")
    assert (verdict.winner, len(verdict.pairs)) == ("a", 6)


# Sensitivity, budgets, profiles


def swept(*outcomes: tuple[float, float | None]) -> Study:
    trials = tuple(
        run(cost, lr=lr) if cost is not None else run(inf, lr=lr, status="diverged")
        for lr, cost in outcomes
    )
    return study("a", [], trials=trials)


def test_the_basin_is_interpolated_on_logarithmic_axes():
    found = measure_sensitivity(
        swept((0.001, 1000), (0.01, 100), (0.1, 1000), (1.0, None)), LOSS, "cost"
    )
    assert found is not None
    width = 2 * log10(GOOD_COST_FACTOR)  # the cost has slope ±1 there
    assert found.basin_width == pytest.approx(width, rel=1e-12)
    assert found.basin == pytest.approx((0.01 / GOOD_COST_FACTOR, 0.01 * GOOD_COST_FACTOR))
    assert found.divergence_rate == 0.25
    assert not found.open
    assert found.curve == ((0.001, 1000), (0.01, 100), (0.1, 1000), (1.0, inf))


def test_the_basin_ends_at_the_last_good_lr_before_a_divergence():
    found = measure_sensitivity(swept((0.01, 100), (0.1, 100), (1.0, None)), LOSS, "cost")
    assert found is not None
    assert found.basin == pytest.approx((0.01, 0.1))
    assert found.basin_width == pytest.approx(1.0)
    assert found.open


def test_a_basin_of_accuracy_is_a_percent_deep():
    trials = tuple(
        run(inf, lr=lr, value=v) for lr, v in ((0.01, 0.90), (0.1, 1.0), (1.0, 0.995), (10.0, 0.98))
    )
    found = measure_sensitivity(study("a", [], trials=trials), ACCURACY, "metric")
    assert found is not None
    assert found.basin == pytest.approx((0.1 * 10**-0.1, 10 ** (1 / 3)))


def test_without_any_outcome_there_is_no_basin_and_without_trials_nothing():
    found = measure_sensitivity(swept((0.01, None), (0.1, inf)), LOSS, "cost")
    assert found is not None
    assert (found.basin_width, found.basin, found.divergence_rate) == (None, None, 0.5)
    assert measure_sensitivity(study("a", []), LOSS, "cost") is None


def test_the_basin_ends_at_the_last_good_lr_before_a_stopped_trial():
    swept_runs = swept((0.01, 100), (0.1, 110), (1.0, 700))
    stopped = replace(swept_runs, trials=tuple(r.truncate(125.0) for r in swept_runs.trials))
    found = measure_sensitivity(stopped, LOSS, "cost")
    assert found is not None
    assert found.basin == pytest.approx((0.01, 0.1))
    assert found.divergence_rate == 0.0


def test_seeds_of_one_lr_are_one_point_at_their_median():
    found = measure_sensitivity(swept((0.01, 100), (0.1, 50), (0.1, 60), (0.1, 900)), LOSS, "cost")
    assert found is not None
    assert found.curve == ((0.01, 100), (0.1, 60))


def test_the_expected_best_is_the_mean_over_all_choices_of_k():
    costs = [30.0, 10.0, 20.0, 50.0, 40.0]
    lrs = [0.001, 0.00316, 0.01, 0.0316, 0.1]
    trials = tuple(run(c, lr=lr) for c, lr in zip(costs, lrs, strict=True))
    refined = (run(1.0, lr=0.0178), run(2.0, lr=0.01, seed=1))  # neither is drawn
    mine = study("a", [], trials=trials + refined, default={LR: 0.01})
    expected = [mean(min(c) for c in combinations(costs, k)) for k in range(1, 6)]
    found = expect_best_of_k(mine, LOSS, "cost")
    assert [k for k, _ in found] == [1, 2, 3, 4, 5]
    assert [value for _, value in found] == pytest.approx(expected, rel=1e-14)


def test_the_expected_best_is_infinite_while_all_trials_may_miss():
    found = expect_best_of_k(swept((0.01, 100), (0.1, None), (1.0, inf)), LOSS, "cost")
    assert [value for _, value in found] == [inf, inf, 100]


def test_of_stopped_trials_the_expected_best_is_what_it_is_at_least():
    swept_runs = swept((0.001, 400.0), (0.00316, 200.0), (0.01, 100.0))
    lost = run(inf, lr=0.0316, status="diverged")
    lost = replace(lost, result=replace(lost.result, cost=10.0))
    mine = replace(swept_runs, trials=(*swept_runs.trials, lost), default={LR: 0.01})
    exact = dict(expect_best_of_k(mine, LOSS, "cost"))
    assert count_inexact(mine) == 0
    stopped = replace(mine, trials=tuple(r.truncate(125.0) for r in mine.trials))
    found = dict(expect_best_of_k(stopped, LOSS, "cost"))
    assert found == pytest.approx({1: inf, 2: 112.5, 3: 106.25, 4: 100.0})
    assert count_inexact(stopped) == 3  # the two stopped ones and the one that diverged
    assert all(found[k] <= exact[k] for k in found)
    assert found[4] == exact[4]


def test_the_expected_best_metric_is_the_greatest():
    trials = tuple(run(inf, lr=lr, value=v) for lr, v in ((0.01, 0.9), (0.1, 0.8), (1.0, 0.7)))
    found = expect_best_of_k(study("a", [], trials=trials), ACCURACY, "metric")
    assert [value for _, value in found] == pytest.approx([0.8, (2 * 0.9 + 0.8) / 3, 0.9])


def comparison(*contests: Contest) -> Comparison:
    return Comparison(contests, "cost", 16, 0, (0,), {}, "")


def test_a_profile_and_its_area_by_hand():
    # Ratios: a 1, 2.5, ∞; b 2, 1, ∞
    tasks = comparison(
        contest(study("a", [100.0]), study("b", [200.0])),
        contest(study("a", [250.0]), study("b", [100.0])),
        contest(study("a", [inf]), study("b", [inf])),
    )
    third = 1 / 3
    profiles = compute_profiles(tasks)
    assert {name: profile.steps for name, profile in profiles.items()} == {
        "a": [(1.0, third), (2.5, 2 * third), (4.0, 2 * third)],
        "b": [(1.0, third), (2.0, 2 * third), (4.0, 2 * third)],
    }
    scores = {name: profile.score for name, profile in profiles.items()}
    assert scores == pytest.approx({"a": (3 + 1.5) / 9, "b": (3 + 2) / 9})


def test_the_best_of_the_defaults_is_that_of_the_untuned_runs():
    slow, fast = (tuple(run(c) for c in costs) for costs in (SLOW, FAST))
    found = find_best_default(
        contest(study("a", FAST, untuned=slow), study("b", SLOW, untuned=fast)), "cost"
    )
    assert found == "b"
    assert find_best_default(contest(study("a", FAST)), "cost") is None


def test_the_best_of_the_defaults_is_not_known_where_others_were_stopped_before():
    def at(name: str, costs: Sequence[float], cap: float) -> Study:
        return study(name, FAST, untuned=tuple(run(c).truncate(cap) for c in costs))

    a = at("a", SLOW, 1000.0)  # a median of 309
    assert find_best_default(contest(a, at("b", [900.0] * 10, 350.0)), "cost") == "a"
    assert find_best_default(contest(a, at("b", [900.0] * 10, 300.0)), "cost") is None
    every = [at(name, [900.0] * 10, 300.0) for name in "ab"]
    assert find_best_default(contest(*every), "cost") is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_winner_is_named_among_equals_and_a_tenth_is_found():
    done = commands.run_module("tests.programs.calibration", 120, limit=1700)
    assert done.returncode == 0, done.stdout + done.stderr


def lost(*errors: str | None) -> tuple[ScoredRun, ...]:
    return tuple(
        make_run("c", [], status="failed" if error else "diverged", error=error) for error in errors
    )


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        (
            lost("TypeError: no closure", "TypeError: no closure"),
            "No trial of c came to anything, so it was not compared: each ended in an error. "
            "TypeError: no closure.",
        ),
        (
            lost("TypeError: no closure", None, None),
            "No trial of c came to anything, so it was not compared: 1 of 3 ended in an error. "
            "TypeError: no closure. For the others try a larger budget, or a default lr nearer to "
            "what works.",
        ),
        (
            lost("A: 1", "B: 2", "B: 2", "C: 3"),
            "No trial of c came to anything, so it was not compared: each ended in an error. "
            "B: 2; A: 1; and 1 other errors.",
        ),
    ],
)
def test_an_optimizer_whose_runs_raised_has_its_exception_in_the_verdict(trials, words):
    nothing = replace(study("c", [], chosen=None), trials=trials)
    assert words in reasons_of(contest(study("a", FAST), study("b", SLOW), nothing))


def test_runs_that_raised_after_tuning_have_their_exception_in_the_verdict():
    failed = make_run("b", [], status="failed", error="RuntimeError: it broke")
    some = study("b", SLOW, tuned=(*study("b", SLOW).tuned[:9], failed))
    expected = "1 of 10 runs of b ended in an error: RuntimeError: it broke."
    assert expected in reasons_of(contest(study("a", FAST), some))


def test_an_optimizer_that_raised_in_part_is_not_told_to_take_a_larger_budget():
    broke: dict[str, Any] = {"status": "failed", "error": "RuntimeError: it broke"}
    trials = (
        make_run("b", [0.4], lr=0.03, objective=LOSS),
        *(make_run("b", [], lr=lr, **broke) for lr in (0.1, 0.3)),
    )
    untuned = tuple(make_run("b", [], seed=seed, **broke) for seed in range(1, 6))
    tuning: dict[str, Any] = {"trials": trials, "chosen": {LR: 0.03}, "edges": (LR,)}
    partly = study("b", SLOW[:5], untuned=untuned, **tuning)
    reasons = reasons_of(contest(study("a", FAST), partly))
    assert "7 of 13 runs of b ended in an error: RuntimeError: it broke." in reasons
    [edge] = [reason for reason in reasons if "undertuned" in reason]
    assert edge == (
        "b is undertuned: its best optimizer.lr=0.03 is on the edge of what was tried; "
        "the next one ended in an error, so mend that first."
    )
