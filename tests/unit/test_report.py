"""The report of a comparison: every number, always the same bytes, and no time by the clock."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from html import unescape
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as MarkerPath
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from scratchopt.compare.charts import draw_charts
from scratchopt.compare.comparison import Comparison, Contest, SeedGroup, Study, compare_groups
from scratchopt.compare.document import lay_out
from scratchopt.compare.files import write_report
from scratchopt.compare.formatting import (
    format_bytes,
    format_cost,
    format_count,
    format_mean,
    format_number,
    format_p,
)
from scratchopt.compare.method_tables import (
    make_budget_table,
    make_method_table,
    make_sensitivity_table,
)
from scratchopt.compare.render import escape_markdown, render_console, render_markdown
from scratchopt.compare.report import TaskReport, make_report
from scratchopt.compare.statistics import Interval
from scratchopt.compare.stored_report import StoredReport
from scratchopt.compare.summary import Bounded, compute_learning_curve
from scratchopt.compare.tables import (
    make_cost_table,
    make_pairs_table,
    make_profile_table,
    make_quality_table,
)
from scratchopt.config.fields import UserError
from scratchopt.objective import Objective
from tests.shared import commands
from tests.shared.browser import chromium
from tests.shared.made_comparisons import (
    ACCURACY,
    SECONDS,
    make_known,
    make_plausible,
    make_run,
    make_stopped,
)

CLOCK = {"times.md", "times.json", "times.csv"}
MADE = {"task", "name", "role", "final", "best", "readings", "more_than"}  # in the row of a run
OWN = {"optimizer", "seed", "status", "updates", "cost", "error", "versions"}  # its result's


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the known comparison."""
    directory = tmp_path_factory.mktemp("report")
    write_report(make_known(), directory)
    return directory


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_costs_are_medians_and_misses_are_not_reached():
    table = make_cost_table(make_report(make_known()).tasks[0])
    assert table.rows == [
        ["fast", "lr 0.1", "no", "75", "66.7 [50, 75]", "75", "0 of 3", "none"],
        ["fast (default)", "lr 0.1", "–", "75", "66.7 [50, 75]", "75", "0 of 3", "none"],
        ["slow", "lr 0.3", "lr", "125", "not reached", "125", "1 of 3", "none"],
        [
            "slow (default)",
            "lr 0.03",
            "–",
            "not reached",
            "not reached",
            "not reached",
            "3 of 3",
            "1 diverged, 1 failed of 3",
        ],
    ]


def test_metrics_are_means_of_the_runs_that_have_one():
    rows = {row[0]: row[1:] for row in make_quality_table(make_report(make_known()).tasks[0]).rows}
    final, best, loss, test = (cell.split(" ")[0] for cell in rows["fast"][1:5])
    assert (final, best, loss, test) == ("0.980", "0.9833", "0.020", "0.978")
    assert rows["slow (default)"][1:5] == [
        "0.8 (1 of 3)",
        "0.65 (2 of 3)",
        "0.2 (1 of 3)",
        "0.798 (1 of 3)",
    ]
    assert rows["slow"][-1] == "4 MB"


def test_what_explains_the_verdict_stands_in_its_tables():
    report = make_report(make_known())
    task = report.tasks[0]
    pairs = make_pairs_table(task, "cost")
    assert pairs is not None
    assert list(pairs.rows[0][:3]) == ["fast", "slow", "0.600"]
    lrs = make_sensitivity_table(task, "cost")
    assert lrs is not None
    fast, slow = lrs.rows
    assert fast == ["fast", "lr 0.1", "lr 0.1", "0.0 decades", "0.1 to 0.1", "0%", "3"]
    assert slow == ["slow", "lr 0.03", "lr 0.3", "–", "–", "33%", "3"]
    best = make_budget_table(task, "metric")
    assert best is not None
    assert best.head == ["optimizer", "k = 1", "k = 2", "k = 3"]
    assert best.rows[0] == ["fast", "0.9633", "0.9733", "0.98"]  # of 0.95, 0.96 and 0.98
    assert "–:" not in best.notes[0]


def test_stopped_runs_cost_more_than_they_had_and_are_no_misses():
    report = make_report(make_stopped())
    [table, _] = [make_cost_table(task) for task in report.tasks]
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    default = rows["sgd (default)"]  # 9 of 10 were stopped at 1.25 times 550
    assert default["evaluations"] == default["steps"] == "> 687"  # 687.5, which is not above 688
    assert default["mean"].startswith("> ")
    assert (default["missed"], default["stopped"]) == ("0 of 10", "9 of 10")
    assert rows["momentum (default)"]["evaluations"] == "512 [475, > 531]"
    assert rows["sgd"]["stopped"] == "–"
    assert any(note.startswith("Stopped:") for note in table.notes)
    assert not any("Stopped" in note for note in make_cost_table(_known_task()).notes)


def test_trials_that_were_stopped_are_counted_and_their_lines_are_bounds():
    task = make_report(make_stopped()).tasks[0]
    lrs = make_sensitivity_table(task, "cost")
    assert lrs is not None
    trials = make_stopped().contests[0].studies[0].trials
    counted = [row[lrs.head.index("stopped")] for row in lrs.rows]
    assert counted[0] == str(sum(run.stopped for run in trials))
    assert "1.25 times the least cost so far" in lrs.notes[0]
    best = make_budget_table(task, "cost")
    assert best is not None
    first = best.rows[0]
    assert first[1] == "not reached"  # as one of them diverged
    assert first[2].startswith("> ")
    assert not first[-1].startswith(">")
    known = make_sensitivity_table(_known_task(), "cost")
    assert known is not None
    assert "stopped" not in known.head


def test_runs_that_ended_at_the_target_are_said_to_have():
    report = make_report(make_stopped())
    quality = make_quality_table(report.tasks[0])
    assert "at the stop" in quality.head
    assert any("until=end has them go on" in note for note in quality.notes)
    assert any(note.startswith("Runs that were stopped") for note in quality.notes)
    method = {row[0]: row[1] for row in make_method_table(report).rows}
    assert method["budget"].endswith("and could not become the best any more")
    assert "less often while the target was far off" in method["read on mnist"]
    logged = [
        replace(task, objective=replace(task.objective, metric="train/loss"))
        for task in report.tasks
    ]
    method = {row[0]: row[1] for row in make_method_table(replace(report, tasks=logged)).rows}
    assert "far off" not in method["read on mnist"]  # a loss of the training is read always
    assert "at the end" in make_quality_table(_known_task()).head


def test_the_line_of_a_stopped_run_says_what_it_had_taken(tmp_path: Path):
    write_report(make_stopped(), tmp_path)
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stopped = [row for row in rows if row["status"] == "stopped"]
    assert {row["role"] for row in stopped} == {"trials", "untuned"}
    assert all(float(row["more_than"]) == float(row["cost"]) for row in stopped)
    assert {row["more_than"] for row in rows if row["status"] != "stopped"} == {""}
    assert {float(row["cost_to_target"]) for row in stopped} == {inf}


def test_charts_have_an_arrow_for_stopped_runs_and_no_metric_of_runs_that_ended_at_the_target():
    stopped, whole = (
        draw_charts(make_report(make_stopped())),
        draw_charts(make_report(make_known())),
    )
    for name in ("mnist_target", "mnist_sensitivity"):
        assert _legend(stopped[name]).count("stopped: needs more") == 1, name
        assert "stopped: needs more" not in _legend(whole[name]), name
    name = "mnist_sensitivity"
    assert len(whole[name].axes) == 2
    assert [axes.get_ylabel() for axes in stopped[name].axes] == ["evaluations to target"]


def test_arrows_of_two_optimizers_at_one_place_stand_side_by_side():
    sgd = [run for run in make_stopped().contests[0].studies[0].trials if run.stopped]
    [default, *_] = make_stopped().contests[0].studies
    trials = (*sgd, make_run("sgd", [0.98], lr=0.1))
    twins = tuple(
        replace(default, optimizer=name, trials=trials, chosen={"optimizer.lr": 0.1})
        for name in ("sgd", "momentum")
    )
    whole = make_stopped()
    contest = replace(whole.contests[0], studies=twins)
    figure = draw_charts(make_report(replace(whole, contests=(contest,))))["mnist_sensitivity"]
    [axes] = figure.axes
    arrows = [line for line in axes.lines if isinstance(line.get_marker(), MarkerPath)]
    places = [
        tuple(line.get_transform().transform(line.get_xydata())[0].round()) for line in arrows
    ]
    assert len(set(places)) == len(places) == 2 * len(sgd) > 0


def test_the_number_of_runs_that_missed_has_room_beside_a_long_name():
    known, name = make_known(), "schedule_free_adamw"
    [contest] = known.contests
    fast, slow = contest.studies
    slow = replace(slow, optimizer=name, tuned=10 * (make_run(name, [0.9] * 8),))
    contests = (replace(contest, studies=(fast, slow)),)
    figure = draw_charts(make_report(replace(known, contests=contests)))["mnist_target"]
    figure.canvas.draw()
    [words] = [text for text in figure.axes[0].texts if text.get_text() == "10 of 10"]
    assert words.get_window_extent().x1 <= figure.bbox.x1


def test_the_chart_of_the_budget_has_what_is_known_for_certain():
    stopped, whole = make_report(make_stopped()), draw_charts(make_report(make_known()))
    assert len(whole["mnist_budget"].axes) == 2
    [first, *_] = stopped.tasks
    assert not draw_charts(stopped).keys() & {"mnist_budget", "autoencoder_budget"}
    entries = [replace(entry, exact_from=3) for entry in first.entries]
    [axes] = draw_charts(replace(stopped, tasks=[replace(first, entries=entries)]))[
        "mnist_budget"
    ].axes
    drawn = [k for line in axes.lines for k in np.atleast_1d(line.get_xdata())]
    assert min(drawn) == 3


def _legend(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def _known_task() -> TaskReport:
    return make_report(make_known()).tasks[0]


def test_a_profile_is_there_of_several_tasks_only():
    assert make_report(make_known()).profile is None
    profiles = make_report(make_plausible(("sgd", "adam"), seeds=3, budget=4)).profile
    assert profiles is not None
    rows = make_profile_table(profiles).rows
    assert [row[0] for row in rows] == ["sgd", "adam"]
    assert rows[1][1:] == ["100%", "100%", "100%", "100%", "1.00"]


def test_there_is_no_profile_of_names_that_are_not_on_every_task():
    several = make_plausible(("sgd", "adam"), seeds=3, budget=4)
    first, *rest = several.contests
    assert make_report(replace(several, contests=(first, *rest))).profile
    fewer = replace(first, studies=first.studies[:1])
    assert make_report(replace(several, contests=(fewer, *rest))).profile is None


def test_json_has_every_run_with_its_readings(written: Path):
    report = json.loads((written / "report.json").read_text())
    expected = asdict(make_report(make_known()))
    rows = report.pop("runs")
    assert rows[0]["readings"] == [[25, 25.0, 0.9], [50, 50.0, 0.95]]
    runs = [(of, run) for of in make_report(make_known()).run_sets for run in of.runs]
    assert (
        len(rows)
        == len(runs)
        == sum(
            len(study.trials) + len(study.tuned) + len(study.untuned)
            for contest in make_known().contests
            for study in contest.studies
        )
    )
    for row, (of, run) in zip(rows, runs, strict=True):
        assert row == _floats(
            {"task": of.task, "name": of.name, "role": of.role}
            | {"final": run.final(of.objective), "best": run.best(of.objective)}
            | {"readings": [[r.steps, r.cost, r.value] for r in run.readings]}
            | {"more_than": run.more_than or None}
            | {key: getattr(run.result, key) for key in OWN}
            | {key: getattr(run, key) for key in row.keys() - MADE - OWN}
        )
    del expected["run_sets"]
    assert report == _floats(expected)


def test_json_is_strict_and_keeps_infinities(written: Path):
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    report = json.loads((written / "report.json").read_text(), parse_constant=refuse)
    missed = [run for run in report["runs"] if run["name"] == "slow" and run["role"] == "tuned"][-1]
    assert float(missed["cost_to_target"]) == inf


def test_a_report_that_is_read_back_says_the_same(written: Path):
    read, report = StoredReport.read(written), make_report(make_known())
    assert render_console(read.report) == render_console(report)
    assert report.tasks[-1].verdict.statement in repr(read)


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_plausible, make_stopped])
def test_a_report_of_several_tasks_that_is_read_back_says_the_same(make: Any, tmp_path: Path):
    report = write_report(make(), tmp_path)
    assert render_console(StoredReport.read(tmp_path).report) == render_console(report)


def test_a_notebook_is_shown_the_verdict_its_table_and_charts(written: Path):
    shown = StoredReport.read(written)._repr_html_()
    assert "<b>No significant winner on mnist.</b>" in shown
    assert "Cost of reaching val/accuracy ≥ 0.97" in shown
    assert "Quality" not in shown
    pictures = re.findall(r'<img alt="(\w+)".*?src="data:image/png;base64,', shown)
    assert pictures == ["mnist_target", "mnist_curves"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tasks": 1}'])
def test_a_damaged_report_is_refused_in_a_line(text: str, tmp_path: Path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match=r"report\.json is damaged, or of another version \("):
        StoredReport.read(tmp_path)


def test_csv_has_a_line_for_each_run(written: Path):
    with (written / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    runs = [(of, run) for of in make_report(make_known()).run_sets for run in of.runs]
    assert len(rows) == len(runs)
    for row, (of, run) in zip(rows, runs, strict=True):
        assert (row["name"], row["role"], int(row["seed"])) == (of.name, of.role, run.result.seed)
        assert row["status"] == run.result.status
        assert float(row["optimizer.lr"]) == run.settings["optimizer.lr"]
        assert float(row["cost_to_target"]) == run.cost_to_target
    assert [row["error"] for row in rows if row["error"]] == ["ValueError: a planted one"]


def test_times_are_in_their_own_files_only(written: Path):
    assert {*CLOCK, "report.md", "report.html", "report.json", "runs.csv"} <= set(files(written))
    traces = [str(SECONDS * k).encode() for k in (1, 2, 3, 5)]
    for name, content in files(written).items():
        found = [trace for trace in traces if trace in content]
        assert bool(found) == (name in CLOCK - {"times.md"}), (name, found)
    table = (written / "times.md").read_text()
    assert "| fast           | 370                 | 4,938         | 3      |" in table
    assert "| slow           | 617                 | 4,938         | 3      |" in table


def test_other_times_change_nothing_but_the_files_of_times(written: Path, tmp_path: Path):
    def elsewhere(runs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            replace(
                run,
                result=replace(run.result, training_seconds=77 * run.result.training_seconds),
                readings=tuple(replace(reading, seconds=77.0) for reading in run.readings),
                to_target=run.to_target and replace(run.to_target, seconds=77.0),
            )
            for run in runs
        )

    moved = _of_studies(
        make_known(),
        lambda study: replace(
            study,
            trials=elsewhere(study.trials),
            tuned=elsewhere(study.tuned),
            untuned=elsewhere(study.untuned),
        ),
    )
    write_report(moved, tmp_path)
    here, there = files(written), files(tmp_path)
    assert here.keys() == there.keys()
    assert {name for name in here if here[name] != there[name]} == CLOCK


def test_the_place_of_an_earlier_run_is_in_the_files_of_times_only(tmp_path: Path):
    groups = [SeedGroup("here", (make_run("adam", [0.5, 0.9]),))]
    elsewhere = [SeedGroup("here", (replace(groups[0].runs[0], address="odd-place"),))]
    for name, each in (("one", groups), ("two", elsewhere)):
        write_report(compare_groups(each, ACCURACY, "mnist", "cost", "command"), tmp_path / name)
    here, there = files(tmp_path / "one"), files(tmp_path / "two")
    assert {name for name in here if here[name] != there[name]} == CLOCK - {"times.md"}


@pytest.mark.slow
def test_the_same_comparison_gives_the_same_bytes_in_any_process(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; "
        "from scratchopt.compare.files import write_report; "
        "from tests.shared.made_comparisons import make_plausible; "
        "write_report(make_plausible(seeds=4, budget=6), Path(sys.argv[1]))"
    )
    for salt in "12":
        done = commands.run_code(program, tmp_path / salt, kind="new", PYTHONHASHSEED=salt)
        assert done.returncode == 0, done.stderr
    one, other = files(tmp_path / "1"), files(tmp_path / "2")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    assert len([name for name in one if name.endswith(".svg")]) == 9


def test_nothing_is_left_half_written(written: Path):
    assert not [name for name in files(written) if ".new" in name]


def _nothing() -> Contest:
    """No trial came to anything."""
    lost = (make_run("adam", [nan], status="diverged"), make_run("adam", [], status="failed"))
    return Contest(
        "mnist", ACCURACY, (Study("adam", {"optimizer.lr": 0.1}, lost, None, (), (), ()),)
    )


def _alone() -> Contest:
    """One optimizer with one seed, one trial, one reading."""
    run = make_run("adam", [0.98])
    lr = {"optimizer.lr": 0.1}
    return Contest("mnist", ACCURACY, (Study("adam", lr, (run,), lr, (), (run,), (run,)),))


def _worst() -> Contest:
    """Names as long as paths, marks that mean something to Markdown and HTML, no target."""
    objective = Objective("train/loss", "min", None)
    lr = {"optimizer.lr": 0.1}
    studies = []
    for name in ("a|b*<script>alert(1)</script>" * 4, "x" * 150):
        runs = tuple(
            make_run(name, values, seed=seed, objective=objective, status=status)
            for seed, (values, status) in enumerate(
                [
                    ([1e-12, 1e-300, 0.0], "converged"),
                    ([1e5, 1e300, inf], "diverged"),
                    ([-1e9, -5.0], "finished"),
                    ([], "failed"),
                    ([5.0, nan, nan], "finished"),
                ]
            )
        )
        studies.append(Study(name, lr, runs, lr, ("optimizer.lr",), runs, ()))
    return Contest("toy/../x y", objective, tuple(studies))


@pytest.mark.parametrize("make", [_nothing, _alone, _worst])
@pytest.mark.parametrize("decide", ["cost", "metric"])
def test_nothing_breaks_a_report(make: Any, decide: str, tmp_path: Path):
    contest = make()
    comparison = Comparison((contest,), decide, 1, 0, (1,), {"adam": "one lr"}, "compare.py")
    report = write_report(comparison, tmp_path)
    assert report.tasks[0].verdict.winner is None
    assert render_console(report)
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} <= {"figures"}
    assert all(re.fullmatch(r"[\w.]+", path.name) for path in tmp_path.rglob("figures/*"))
    json.loads((tmp_path / "report.json").read_text())


def test_groups_of_an_earlier_multirun_are_held_against_each_other(tmp_path: Path):
    groups = [
        SeedGroup(f"adam, lr={lr}", tuple(make_run("adam", [0.9, best], seed=s) for s in range(6)))
        for lr, best in ((0.1, 0.98), (0.01, 0.95))
    ]
    comparison = compare_groups(groups, ACCURACY, "mnist", "cost", "compare.py --from DIR")
    report = write_report(comparison, tmp_path)
    assert report.kind == "groups"
    rows = make_cost_table(report.tasks[0]).rows
    assert [row[0] for row in rows] == ["adam, lr=0.1", "adam, lr=0.01"]
    assert [row[-2] for row in rows] == ["0 of 6", "6 of 6"]
    text = (tmp_path / "report.md").read_text()
    assert "budget" not in text
    assert "seeds of tuning" not in text


def test_it_says_how_often_the_metric_was_read():
    rounded = "every 25 steps; costs to the target are rounded up to that"
    assert ["read on mnist", rounded] in make_method_table(make_report(make_known())).rows


def test_of_defaults_that_all_missed_none_is_the_best():
    several = make_known()
    [first] = several.contests
    missed = tuple(make_run("fast", [0.5], seed=s) for s in range(3))
    studies = tuple(replace(study, untuned=missed) for study in first.studies)
    report = make_report(replace(several, contests=(replace(first, studies=studies),)))
    lines = [line for section in lay_out(report, ()) for line in section.lines]
    assert "Of the defaults, untuned, none has reached the target." in lines


def test_the_command_stands_in_markdown_and_page_as_it_is_typed(tmp_path: Path):
    command = "python scripts/compare.py 'optimizers=[sgd,nag]' 'tune={momentum:[0.5]}'"
    write_report(replace(make_known(), command=command), tmp_path)
    assert f"`{command}`" in (tmp_path / "report.md").read_text()
    assert f"<code>{command}</code>" in unescape((tmp_path / "report.html").read_text())


def test_a_test_set_is_spoken_of_where_there_is_one():
    read = "The test set was read once"
    assert read in render_markdown(make_report(make_known()), ())
    run = make_run("adam", [0.98])
    studies = tuple(Study(n, {}, (run,), {}, (), (run,), ()) for n in ("a", "b"))
    comparison = replace(make_known(), contests=(Contest("toy", ACCURACY, studies),))
    assert read not in render_markdown(make_report(comparison), ())


@pytest.mark.parametrize(
    "name",
    ["a|b", "`x`", "<b>", "# x", "- x", "1. x", "> x", "$x_$", "a\nb", "&lt;", "~~x~~", "_x_"],
)
def test_a_name_means_nothing_to_markdown(name):
    """What a Markdown reader makes of the escaped text is the name, on one line."""
    text = escape_markdown(name)
    assert "\n" not in text
    read = re.sub(r"\\([!-/:-@\[-`{-~])", lambda m: f"&#{ord(m[1])};", text)
    assert not re.search(r"^(#|[->+] |\d+[.)] )|[`*_\[\]<|~$]", read)
    assert unescape(read) == name.replace("\n", " ")
    run = make_run(name, [0.98])
    studies = tuple(Study(n, {}, (run,), {}, (), (run,), ()) for n in (name, "other"))
    comparison = replace(make_known(), contests=(Contest("toy", ACCURACY, studies),))
    lines = render_markdown(make_report(comparison), ()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows if escape_markdown(name) in row}
    assert rows
    assert widths <= {len(re.findall(r"(?<!\\)\|", row)) for row in rows if "other" in row}


def test_learning_curves_keep_the_last_reading_of_a_run_that_ended_well():
    runs = [make_run("adam", [0.5, 0.6]), make_run("adam", [0.5, 0.7, 0.8, 0.9])]
    curve = compute_learning_curve(runs, ACCURACY)
    assert curve.cost == [25, 50, 75, 100]
    assert curve.median == pytest.approx([0.5, 0.65, 0.7, 0.75])


def test_learning_curves_of_diverged_runs_are_the_worst_from_their_end_on():
    runs = [make_run("adam", [0.5, 0.6, 0.7]) for _ in range(2)]
    runs += [make_run("adam", [0.5, 0.6], status="diverged") for _ in range(3)]
    assert compute_learning_curve(runs, ACCURACY).median == [0.5, 0.6, -inf]


def test_runs_that_diverge_before_their_first_reading_are_in_the_learning_curve():
    runs = [make_run("adam", [0.5, 0.6]) for _ in range(2)]
    runs += [make_run("adam", [], status="diverged") for _ in range(3)]
    assert compute_learning_curve(runs, ACCURACY).median == [-inf, -inf]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_count(12345.0), "12,345"),
        (format_count(12.5), "12.5"),
        (format_count(inf), "not reached"),
        (format_count(nan), "–"),
        (format_number(1.5e-7), "1.5e-7"),
        (format_number(-0.25), "−0.25"),
        (format_number(inf), "∞"),
        (format_p(0.03124), "0.031"),
        (format_p(1e-9), "< 0.0001"),
        (format_bytes(12_345_678), "12.3 MB"),
        (
            format_cost(Bounded(1250.0, 1100.0, inf)),
            "1,250 [1,100, not reached]",
        ),
        (format_cost(Bounded(1250.0, None, None)), "1,250"),
        (
            format_mean(Interval(0.971234, 0.96981, 0.97243)),
            "0.9712 [0.9698, 0.9724]",
        ),
        (format_mean(Interval(1.5e-9, 1.0e-9, 2.5e-9)), "1.5e-9 [1e-9, 2.5e-9]"),
    ],
)
def test_numbers_have_the_digits_that_are_known(text: str, expected: str):
    assert text == expected


def test_the_page_refers_to_nothing_outside(written: Path):
    html = (written / "report.html").read_text()
    assert re.findall(r"""(?:src|href|action)\s*=\s*["'](?!#)""", html) == []
    assert "http" not in html.replace("http-equiv", "")
    assert "@import" not in html
    assert "<script" not in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', html)) <= set(ids)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser with the page of a large comparison."""
    directory = tmp_path_factory.mktemp("page")
    write_report(make_plausible(seeds=6, budget=6), directory)
    browser = chromium(directory / "profile", "1500,1100", loggingPrefs={"browser": "ALL"})
    try:
        browser.get((directory / "report.html").as_uri())
        yield browser
    finally:
        browser.quit()


@pytest.mark.parametrize("width", [390, 1500])
def test_the_page_fits_its_window(browser: Chrome, width: int):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    pictures = browser.find_elements(By.CSS_SELECTOR, "figure svg")
    assert len(pictures) == 9
    assert all(350 < svg.size["width"] <= 640 for svg in pictures)
    assert all(svg.size["height"] > 100 for svg in pictures)


def test_the_page_has_no_error(browser: Chrome):
    assert browser.get_log("browser") == []


def _of_studies(comparison: Comparison, change: Any) -> Comparison:
    return replace(
        comparison,
        contests=tuple(
            replace(contest, studies=tuple(map(change, contest.studies)))
            for contest in comparison.contests
        ),
    )


def _floats(value: Any) -> Any:
    """A copy with numbers that are not finite as text."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_floats(item) for item in value]
    return str(value) if isinstance(value, float) and value - value != 0 else value
