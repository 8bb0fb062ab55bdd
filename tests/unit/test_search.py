"""The search for settings: its rules, by curves that are known, and its replay."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from math import inf, log, log10
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchopt.compare.runs import Reading, ScoredRun
from scratchopt.compare.search import Choice, GridSearch, Search, Trial
from scratchopt.compare.trials import truncate_trials
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective
from tests.shared import commands
from tests.shared.made_comparisons import make_result

LOSS = Objective("val/loss", "min", 0.5)
ACCURACY = Objective("val/accuracy", "max", 0.9)
LR, MOMENTUM = "optimizer.lr", "optimizer.momentum"
Course = Callable[[Trial], ScoredRun]


def run(trial: Trial, cost: float | None, best: float = 0.4, status: str = "finished") -> ScoredRun:
    """A run that reaches the target after that cost, or never; its best and last reading."""
    at = Reading(int(cost or 1000), cost or 1000.0, 0.0, best)
    result = make_result(seed=trial.repeat, status=status, cost=cost or 1000.0)
    return ScoredRun(result, (at,), None if cost is None else at, trial.settings)


def diverged(trial: Trial) -> ScoredRun:
    result = make_result(seed=trial.repeat, status="diverged")
    return ScoredRun(result, (), None, trial.settings)


def valley(best: float, limit: float = 1e9) -> Course:
    """The cost rises tenfold with each decade off the best lr; above a limit it diverges."""

    def course(trial: Trial) -> ScoredRun:
        lr = trial.settings[LR]
        return diverged(trial) if lr > limit else run(trial, 100 * 10 ** abs(log10(lr / best)))

    return course


def grid(
    budget: int,
    default: Mapping[str, Any] | None = None,
    axes: Mapping[str, Any] | None = None,
    decide: str = "cost",
    objective: Objective = LOSS,
    margin: float = inf,
) -> GridSearch:
    return GridSearch(default or {LR: 0.01}, axes or {}, objective, decide, budget, margin)


def carry_out(search: Search, course: Course) -> tuple[list[Trial], Choice]:
    """Carries a search out; all trials in their order, and the choice."""
    results: dict[Trial, ScoredRun] = {}
    while wanted := search.next_trials(results):
        results |= {trial: course(trial) for trial in wanted}
    assert set(search.list_trials(results)) == set(results)
    return list(search.list_trials(results)), search.choose(results)


def lrs(trials: Iterable[Trial]) -> list[float]:
    return [trial.settings[LR] for trial in trials]


@pytest.mark.parametrize(
    ("budget", "first"),
    [
        (1, [0.01]),
        (2, [0.01]),
        (3, [0.00316, 0.01, 0.0316]),
        (8, [0.001, 0.00316, 0.01, 0.0316, 0.1]),
        (16, [0.0001, 0.000316, 0.001, 0.00316, 0.01, 0.0316, 0.1, 0.316, 1.0]),
        (64, [0.0001, 0.000316, 0.001, 0.00316, 0.01, 0.0316, 0.1, 0.316, 1.0]),
    ],
)
def test_the_first_wave_is_odd_half_decades_around_the_default(budget: int, first: list[float]):
    assert lrs(grid(budget).list_trials({})) == first
    assert lrs(grid(budget).next_trials({})) == first[::-1]  # the greatest first


def test_an_inner_best_is_refined_by_quarters_and_eighths_then_run_with_further_seeds():
    trials, choice = carry_out(grid(16), valley(0.03))
    assert lrs(trials)[9:12] == [0.0178, 0.0562, 0.0237]
    assert [(t.settings[LR], t.repeat) for t in trials[12:]] == [(0.0316, k) for k in (1, 2, 3, 4)]
    assert choice == Choice({LR: 0.0316}, ())


def test_refinement_ends_at_a_sixteenth_of_a_decade():
    trials, _ = carry_out(grid(64), valley(0.03))
    tried = sorted({log10(lr) for lr in lrs(trials)})
    gaps = [after - before for before, after in pairwise(tried)]
    assert min(gaps) == pytest.approx(1 / 16, abs=0.005)
    assert len(trials) == 64


def test_a_best_on_the_edge_extends_the_grid_until_it_lies_inside():
    trials, choice = carry_out(grid(16), valley(10.0))
    assert lrs(trials)[9:12] == [3.16, 10.0, 31.6]
    assert choice == Choice({LR: 10.0}, ())


@pytest.mark.parametrize(("best", "end"), [(1e9, 3160.0), (1e-9, 3.16e-8)])
def test_a_best_that_is_always_beyond_takes_the_whole_budget_and_is_an_edge(best, end):
    trials, choice = carry_out(grid(16), valley(best))
    assert len(trials) == len(set(lrs(trials))) == 16
    assert choice == Choice({LR: end}, (LR,))


def test_where_all_diverges_the_grid_goes_down_and_nothing_is_chosen():
    trials, choice = carry_out(grid(16), diverged)
    assert lrs(trials)[9:] == [3.16e-5, 1e-5, 3.16e-6, 1e-6, 3.16e-7, 1e-7, 3.16e-8]
    assert choice == Choice(None, ())


@pytest.mark.parametrize("budget", [*range(1, 20), 33])
@pytest.mark.parametrize("values", [[0.9], [0.5, 0.9], [0.0, 0.5, 0.9]])
def test_exactly_the_budget_is_spent_and_no_trial_is_asked_twice(budget: int, values: list[float]):
    budget = max(budget, len(values))
    search = grid(budget, {LR: 0.01, MOMENTUM: 0.9}, {MOMENTUM: values})
    for course in (valley(0.03), valley(1e4), valley(0.01, 0.02), diverged):
        trials, _ = carry_out(search, course)
        assert len(trials) == len(set(trials)) == budget


def test_lrs_have_three_digits_but_the_default_stays_as_it_is():
    trials, _ = carry_out(grid(16, {LR: 0.0123456}), valley(0.03))
    assert 0.0123456 in lrs(trials)
    assert all(lr == float(f"{lr:.3g}") for lr in lrs(trials) if lr != 0.0123456)


def test_one_trial_is_the_default():
    trials, choice = carry_out(grid(1), valley(0.03))
    assert trials == [Trial.from_settings({LR: 0.01})]
    assert choice == Choice({LR: 0.01}, (LR,))


def test_the_luckiest_of_one_seed_is_not_chosen_when_another_is_better_on_two():
    def course(trial: Trial) -> ScoredRun:
        lucky = trial.settings[LR] == 0.0316 and trial.repeat == 0
        return run(trial, 90.0) if lucky else valley(0.0178)(trial)

    _, choice = carry_out(grid(16), course)
    assert choice.settings == {LR: 0.0178}  # the means: 100, and √(90·178) = 127

    def unlucky(trial: Trial) -> ScoredRun:
        if trial.settings[LR] == 0.0316:
            return run(trial, 90.0) if trial.repeat == 0 else run(trial, None)
        return valley(0.0178)(trial)

    _, choice = carry_out(grid(16), unlucky)
    assert choice.settings == {LR: 0.0178}


def test_an_lr_on_a_cliff_loses_its_place_in_the_race():
    def on_the_cliff(trial: Trial) -> ScoredRun:
        lr = trial.settings[LR]
        lucky = trial.repeat == 0 and lr < 0.04
        return valley(0.0316)(trial) if lr < 0.02 or lucky else diverged(trial)

    trials, choice = carry_out(grid(16), on_the_cliff)
    race = [(t.settings[LR], t.repeat) for t in trials[12:]]
    assert race == [(0.0316, 1), (0.0237, 1), (0.0178, 1), (0.0178, 2)]
    assert choice.settings == {LR: 0.0178}


def test_settings_without_a_failure_are_chosen_before_those_that_failed_in_the_race():
    def course(trial: Trial) -> ScoredRun:
        return diverged(trial) if trial.repeat else valley(0.03)(trial)

    trials, choice = carry_out(grid(16), course)
    raced = {t.settings[LR] for t in trials if t.repeat}
    assert len(raced) == 4
    assert choice.settings is not None
    assert choice.settings[LR] not in raced


def test_a_trial_is_stopped_at_a_margin_of_the_least_cost_so_far():
    search, course = grid(16, margin=2.0), valley(0.03)
    results: dict[Trial, ScoredRun] = {}
    asked: list[tuple[float, float]] = []
    while wanted := search.next_trials(results):
        trial, cap = next(iter(wanted.items()))
        assert cap == 2 * min((r.cost_to_target for r in results.values()), default=inf) or (
            trial.repeat and cap == inf  # a mean is measured whole
        )
        asked.append((trial.settings[LR], cap))
        results[trial] = course(trial).truncate(cap)
    assert [lr for lr, _ in asked[:9]] == [
        1.0,
        0.316,
        0.1,
        0.0316,
        0.01,
        0.00316,
        0.001,
        3.16e-4,
        1e-4,
    ]
    stopped = sorted(t.settings[LR] for t, r in results.items() if r.stopped)
    assert stopped == [1e-4, 3.16e-4, 0.001, 0.00316, 0.01]  # those before 0.0316 ran whole
    assert all(r.more_than == results_cap(search, results) for r in results.values() if r.stopped)


def results_cap(search: GridSearch, results: dict[Trial, ScoredRun]) -> float:
    return next(iter(search.list_trials(results).values()))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 24),
    st.integers(0, 2**32 - 1),
    st.floats(-5, 3),
    st.sampled_from([1, 2]),
    st.sampled_from([1.1, 1.25, 2.0, inf]),
)
def test_what_is_known_does_not_depend_on_how_far_stopped_runs_went(
    budget: int, seed: int, best: float, values: int, margin: float
):
    """Runs asked for in any order, each stopped at its cap of that time: the report is the same."""

    def course(trial: Trial) -> ScoredRun:
        chance = Random(f"{seed}{trial}")
        known = valley(10.0**best, 3.0)(trial)
        if known.failed:
            cost = 1000 * chance.random()
            return replace(known, result=replace(known.result, cost=cost))
        cost = known.cost_to_target * (1 + chance.random())
        hit = Reading(int(cost), cost, 0.0, 0.4)
        before = tuple(Reading(int(x), x, 0.0, 1 - x / cost) for x in (cost / 4, cost / 2))
        result = replace(make_result(seed=trial.repeat), cost=cost)
        return ScoredRun(result, (*before, hit), hit, trial.settings)

    search = grid(
        max(budget, values),
        {LR: 0.01, MOMENTUM: 0.9},
        {MOMENTUM: [0.9, 0.5][:values]},
        margin=margin,
    )

    def known(results: dict[Trial, ScoredRun]) -> Any:
        runs = truncate_trials(search.list_trials(results), results)
        return [(t, r.result.status, r.result.cost, r.readings) for t, r in runs.items()]

    whole: dict[Trial, ScoredRun] = {}
    while wanted := search.next_trials(whole):
        whole |= {trial: course(trial) for trial in wanted}
    chance = Random(seed)
    stopped: dict[Trial, ScoredRun] = {}
    while wanted := search.next_trials(stopped):
        at_work = chance.sample(list(wanted.items()), chance.randint(1, len(wanted)))
        stopped |= {trial: course(trial).truncate(cap) for trial, cap in at_work}
    assert known(stopped) == known(whole)
    assert search.choose(stopped) == search.choose(whole)


@pytest.mark.parametrize("decide", ["cost", "metric"])
def test_equal_costs_and_misses_are_decided_by_the_metric(decide: str):
    for cost in (100.0, None):

        def course(trial: Trial, cost: float | None = cost) -> ScoredRun:
            return run(trial, cost, best=0.1 + abs(log10(trial.settings[LR] / 0.1)))

        assert carry_out(grid(16, decide=decide), course)[1].settings == {LR: 0.1}


def test_a_cost_outweighs_a_metric_unless_the_metric_decides():
    def course(trial: Trial) -> ScoredRun:
        lr = trial.settings[LR]
        return run(trial, 100 * 10 ** abs(log10(lr / 0.001)), best=abs(log10(lr / 0.1)))

    assert carry_out(grid(16), course)[1].settings == {LR: 0.001}
    assert carry_out(grid(16, decide="metric"), course)[1].settings == {LR: 0.1}


def test_a_great_accuracy_is_the_better_one():
    def course(trial: Trial) -> ScoredRun:
        return run(trial, None, best=0.9 - 0.1 * abs(log10(trial.settings[LR] / 0.1)))

    search = grid(16, decide="metric", objective=ACCURACY)
    assert carry_out(search, course)[1].settings == {LR: 0.1}


def test_a_run_that_fails_is_worse_than_one_that_misses():
    def course(trial: Trial) -> ScoredRun:
        lr = trial.settings[LR]
        return run(trial, 1.0, status="failed") if lr > 0.002 else run(trial, None, best=lr)

    assert carry_out(grid(16), course)[1].settings[LR] < 0.002  # pyright: ignore


def test_ties_go_to_the_default():
    _, choice = carry_out(grid(16), lambda trial: run(trial, 100.0))
    assert choice.settings == {LR: 0.01}


def test_further_axes_share_the_budget_evenly_the_default_first():
    search = grid(16, {LR: 0.01, MOMENTUM: 0.9}, {MOMENTUM: [0.5, 0.9, 0.99]})
    trials, choice = carry_out(
        search,
        lambda t: run(t, valley(0.03)(t).cost_to_target * (1 + abs(t.settings[MOMENTUM] - 0.99))),
    )
    counts = {m: sum(t.settings[MOMENTUM] == m for t in trials) for m in (0.5, 0.9, 0.99)}
    assert counts == {0.9: 6, 0.5: 5, 0.99: 5}
    assert choice.settings is not None
    assert choice.settings[MOMENTUM] == 0.99
    assert MOMENTUM in choice.edges


def test_two_values_of_an_axis_are_no_range_and_zero_is_no_edge():
    default = {LR: 0.01, MOMENTUM: 0.9}

    def course(trial: Trial) -> ScoredRun:
        return run(trial, valley(0.01)(trial).cost_to_target * (1 + trial.settings[MOMENTUM]))

    assert carry_out(grid(32, default, {MOMENTUM: [0.5, 0.9]}), course)[1].edges == ()
    assert carry_out(grid(32, default, {MOMENTUM: [0.0, 0.5, 0.9]}), course)[1].edges == ()
    assert carry_out(grid(32, default, {MOMENTUM: [0.1, 0.5, 0.9]}), course)[1].edges == (MOMENTUM,)


def test_an_axis_that_the_optimizer_does_not_have_leaves_the_lr_the_whole_budget():
    with_axis, _ = carry_out(grid(16, axes={MOMENTUM: [0.5, 0.9]}), valley(0.03))
    assert with_axis == carry_out(grid(16), valley(0.03))[0]


def test_a_list_is_a_value():
    betas = "optimizer.betas"
    search = grid(6, {LR: 0.01, betas: [0.9, 0.999]}, {betas: [[0.9, 0.999], [0.5, 0.99]]})
    trials, choice = carry_out(search, valley(0.01))
    assert [t.settings[betas] for t in trials[:3]] == [[0.9, 0.999]] * 3
    assert choice == Choice({LR: 0.01, betas: [0.9, 0.999]}, ())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(0, 2**32 - 1), st.floats(-5, 3), st.sampled_from([1, 2, 3]))
def test_the_trials_do_not_depend_on_the_order_in_which_results_arrive(
    budget: int, seed: int, best: float, values: int
):
    chance = Random(seed)
    noise = {}

    def course(trial: Trial) -> ScoredRun:
        factor = noise.setdefault(trial, 1 + Random(f"{seed}{trial}").random())
        known = valley(10.0**best, 3.0)(trial)
        return known if known.failed else run(trial, known.cost_to_target * factor)

    axes = {MOMENTUM: [0.9, 0.5, 0.0][:values]}
    search = grid(max(budget, values), {LR: 0.01, MOMENTUM: 0.9}, axes)
    expected = carry_out(search, course)
    results: dict[Trial, ScoredRun] = {}
    while wanted := list(search.next_trials(results)):
        for trial in chance.sample(wanted, chance.randint(1, len(wanted))):
            results[trial] = course(trial)
        results = dict(chance.sample(list(results.items()), len(results)))
    assert (list(search.list_trials(results)), search.choose(results)) == expected


def test_results_of_trials_that_were_not_asked_for_change_nothing():
    trials, choice = carry_out(grid(16), valley(0.03))
    results = {trial: valley(0.03)(trial) for trial in trials}
    results[Trial.from_settings({LR: 0.0299})] = run(Trial.from_settings({LR: 0.0299}), 0.5)
    assert grid(16).choose(results) == choice


@pytest.mark.parametrize(
    ("default", "budget", "decide", "message"),
    [
        ({LR: 0.0}, 16, "cost", "optimizer.lr=0.0: a grid around it needs a default > 0"),
        ({LR: 0.1}, 0, "cost", "budget=0: must be an integer >= 1"),
        ({LR: 0.1}, 1, "time", "decide=time: must be one of cost, metric"),
    ],
)
def test_what_no_grid_can_be_built_on_is_refused(default, budget, decide, message):
    with pytest.raises(UserError) as refusal:
        grid(budget, default, decide=decide)
    assert str(refusal.value) == message


def test_a_budget_below_one_trial_for_each_combination_is_refused():
    with pytest.raises(UserError) as refusal:
        grid(2, {LR: 0.01, MOMENTUM: 0.9}, {MOMENTUM: [0.0, 0.5, 0.9]})
    assert str(refusal.value).startswith("budget=2: the 3 combinations of what is tuned")


def test_optuna_spends_the_budget_within_its_space_and_is_replayed():
    pytest.importorskip("optuna")
    from scratchopt.compare.optuna_search import TPESearch

    default = {LR: 0.01, "optimizer.betas": [0.9, 0.999], "optimizer.eps": 1e-8}
    keys = ["optimizer.betas", MOMENTUM]
    search = TPESearch(default, keys, LOSS, "cost", 16)
    trials, choice = carry_out(search, valley(0.03, 0.3))
    assert len(trials) == len(set(trials)) == 16
    assert trials[0] == Trial.from_settings(default)
    assert all(1e-4 <= t.settings[LR] <= 1.0 for t in trials)
    assert all(0 <= b <= 0.999 for t in trials for b in t.settings["optimizer.betas"])
    assert {t.settings["optimizer.eps"] for t in trials} == {1e-8}
    assert [t.repeat for t in trials] == [0] * 12 + [1, 2, 3, 4]
    results = {trial: valley(0.03, 0.3)(trial) for trial in reversed(trials)}
    again = TPESearch(default, keys, LOSS, "cost", 16)
    assert (list(again.list_trials(results)), again.choose(results)) == (trials, choice)


def test_optuna_is_told_of_a_stopped_trial_what_it_was_stopped_at():
    pytest.importorskip("optuna")
    from scratchopt.compare.optuna_search import TPESearch

    course = valley(0.03, 0.3)
    search = TPESearch({LR: 0.01}, [], LOSS, "cost", 16, margin=1.25)
    whole, _ = carry_out(search, course)
    results: dict[Trial, ScoredRun] = {}
    told: list[float] = []
    while wanted := search.next_trials(results):
        [(trial, cap)] = wanted.items()
        results[trial] = course(trial).truncate(cap)
        if results[trial].stopped:
            told.append(search._loss(results[trial]))
            assert told[-1] == pytest.approx(log(cap))
    assert told
    assert list(search.list_trials(results)) == whole


def test_optuna_is_told_what_the_defaults_came_to_as_theirs():
    pytest.importorskip("optuna")
    from scratchopt.compare.optuna_search import TPESearch, _Sampler

    default = {LR: 0.01, "optimizer.betas": [0.9, 0.999], MOMENTUM: 0.0}
    search = TPESearch(default, ["optimizer.betas", "momentum", MOMENTUM], LOSS, "cost", 16)
    sampler = _Sampler(search)
    assert sampler.ask() == default
    sampler.tell(1.0)
    [enqueued] = sampler.study.trials
    assert enqueued.params == pytest.approx(
        {LR: 0.01, "optimizer.betas[0]": 0.1, "optimizer.betas[1]": 0.001, MOMENTUM: 1.0}
    )
    assert sampler.ask()[LR] != 0.01


def test_optuna_samples_better_than_by_chance():
    pytest.importorskip("optuna")
    from scratchopt.compare.optuna_search import TPESearch

    trials, _ = carry_out(TPESearch({LR: 0.01}, [], LOSS, "cost", 40), valley(0.5))
    distance = [abs(log10(t.settings[LR] / 0.5)) for t in trials[:30]]
    assert sorted(distance[13:])[8] < sorted(distance[:13])[6] / 2


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    from scratchopt.compare.optuna_search import TPESearch

    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError) as refusal:
        TPESearch({LR: 0.01}, [], LOSS, "cost", 4)
    assert str(refusal.value) == (
        'search=optuna: Optuna is not installed; pip install "scratchopt[optuna]"'
    )


def test_the_search_waits_for_neither_scipy_nor_torch():
    program = (
        "import sys; import scratchopt.compare.search; "
        "sys.exit(' '.join({'scipy', 'torch', 'optuna'} & set(sys.modules)))"
    )
    done = commands.run_code(program, kind="light")
    assert done.stderr.strip() == ""
