"""Dashboard: what TensorBoard shows of a run, ready to be compared with others."""

# TensorBoard's modules of protocol buffers are generated, and have no types.
# pyright: reportAttributeAccessIssue=false

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from scratchopt.runs.result import Result

# What comes first among the charts, in this order, and what it is called.
FIRST = {
    "loss": "loss",
    "accuracy": "accuracy",
    "lr": "lr",
    "momentum": "momentum",
    "gradnorm": "gradnorm",
    "log10_gradnorm": "log10 of the gradnorm",
    "velocity": "velocity",
    "update_ratio": "update-to-weight ratio",
    "angle": "angle",
    "gradnorm_clipped": "gradnorm after clipping",
    "sharpness": "sharpness, and the most that is stable",
    "cost": "cost of a step",
}
LIMIT = "_limit"  # ends the tag of a bound, which is drawn with what it bounds


class Dashboard(TensorBoardLogger):
    """TensorBoard's logger, which also fills the pages where runs are compared.

    CUSTOM SCALARS has a chart of each number that the run logs. TensorBoard puts the layouts of
    all runs together, so each run asks only for charts that it has something for.
    `train/log10_gradnorm` is there for the axis: those charts have no logarithmic one that could be
    asked for. A gradnorm of 0 has no logarithm, and leaves a gap.

    HPARAMS has the run's row: the hyperparameters, and the last value of each scalar. It shows the
    first five of these by name, unless asked for others. For them to be what one would compare,
    there are `train-end/evaluations`, `…/loss`, `…/seconds`, `…/updates` and, of an optimizer that
    counts it otherwise, `…/cost`: a hyphen comes before a slash, but after it in TIME SERIES,
    which opens the first two groups. The names of metrics are not written with the row: TensorBoard
    would take one run's for all runs beneath its logdir, and show no others. Without them it finds
    those of every run itself.

    TEXT has the console's summary and the resolved configuration.

    All numbers of a step are one event, which takes a quarter of the time of one for each.

    Args:
        directory: of the run.
        updates: from which the run goes on; what was logged of later ones, before it was killed, is
            no longer shown.
    """

    def __init__(self, directory: Path, updates: int = 0) -> None:
        options: dict[str, Any] = {"purge_step": updates} if updates else {}
        # A queue of ten, the default, is waited for.
        super().__init__(
            directory, name="", version="", default_hp_metric=False, max_queue=1000, **options
        )
        self._tags: set[str] = set()

    @rank_zero_only
    def begin(self, hyperparameters: Mapping[str, Any], config: dict[str, Any]) -> None:
        """Writes what is known before the training; `hparams.yaml` gets the same values."""
        self.log_hyperparams(dict(hyperparameters))
        self._add(_run_started(hyperparameters))
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("resolved_configuration", f"```yaml\n{text}```")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Writes the numbers of a step, and a layout with charts of those that are new."""
        if not all(isinstance(value, int | float | Tensor) for value in metrics.values()):
            super().log_metrics(metrics, step)  # several curves in a chart, or a mistake
            return
        # Lightning adds the number of the epoch to all that it logs.
        numbers = {tag: float(value) for tag, value in metrics.items() if tag != "epoch"}
        if numbers.get("train/gradnorm", 0.0) > 0:
            numbers["train/log10_gradnorm"] = math.log10(numbers["train/gradnorm"])
        self._add(_scalars(numbers), step)
        if not numbers.keys() <= self._tags:
            self._tags |= numbers.keys()
            self.experiment.add_custom_scalars(layout(self._tags))

    @rank_zero_only
    def end(self, result: Result, directory: Path) -> None:
        """Writes what came of the run."""
        ends = {
            "evaluations": result.evaluations,
            "loss": result.metrics.get("train/loss", math.nan),
            "seconds": result.seconds,
            "updates": result.updates,
            "cost": result.cost if "train/cost" in result.metrics else math.nan,
        }
        # The page cannot sort by what is NaN; what is not there comes last.
        numbers = {f"train-end/{name}": x for name, x in ends.items() if math.isfinite(x)}
        self.log_metrics(numbers, result.updates)
        console = f"```\n{result.table(directory)}\n```"
        self.experiment.add_text("console", console, result.updates)
        if result.status != "interrupted":  # which is to be gone on with, and has no end
            self._add(_run_ended(failed=result.status == "diverged"))
        self.experiment.close()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what there is; closing, as Lightning would, begins another file each time."""
        self.experiment.flush()

    def _add(self, summary: Any, step: int | None = None) -> None:
        self.experiment._get_file_writer().add_summary(summary, step)


def layout(tags: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Charts by part and title, as `SummaryWriter.add_custom_scalars` takes them."""
    held = {**_charts(tags, "val", "validation "), **_charts(tags, "test", "test ")}
    parts = {"training": _charts(tags, "train", ""), "validation and test": held}
    return {part: charts for part, charts in parts.items() if charts}


def _charts(tags: Iterable[str], stage: str, adjective: str) -> dict[str, list[Any]]:
    names = {tag.removeprefix(f"{stage}/") for tag in tags if tag.startswith(f"{stage}/")}
    ordered = [*(name for name in FIRST if name in names), *sorted(names - FIRST.keys())]
    return {
        # TensorBoard takes a tag for a regular expression, and for one that may end before it.
        adjective + FIRST.get(name, name): ["Multiline", [f"{stage}/{re.escape(name)}({LIMIT})?$"]]
        for name in ordered
        if not name.endswith(LIMIT)
    }


# TensorBoard's protocol buffers, for what no method of a SummaryWriter writes.


def _scalars(values: Mapping[str, float]) -> Any:
    """A summary of several scalars, by tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in values.items()])


def _run_started(hyperparameters: Mapping[str, Any]) -> Any:
    """A summary that makes a row in HPARAMS.

    What is neither a number, a word nor true or false is shown as a word; None, not at all.
    """
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

    start = SessionStartInfo()
    for name, value in hyperparameters.items():
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[name].number_value = value
        elif value is not None:
            start.hparams[name].string_value = str(value)
    return _session(SESSION_START_INFO_TAG, session_start_info=start)


def _run_ended(failed: bool) -> Any:
    """A summary that gives the row its status, SUCCESS or FAILURE."""
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

    end = SessionEndInfo(status=Status.STATUS_FAILURE if failed else Status.STATUS_SUCCESS)
    return _session(SESSION_END_INFO_TAG, session_end_info=end)


def _session(tag: str, **info: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = create_summary_metadata(HParamsPluginData(**info))
    return Summary(value=[Summary.Value(tag=tag, metadata=content, tensor=NULL_TENSOR)])
