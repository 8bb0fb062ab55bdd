"""Dashboard: what TensorBoard shows of a run, ready to be compared with others."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from scripts.result import Result

# Titles of the custom scalars' parts, and of the charts that come first there, in this order.
STAGES = {"train": "training", "val": "validation", "test": "test"}
FIRST = {
    "loss": "loss",
    "accuracy": "accuracy",
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

    HPARAMS has the run's row: the hyperparameters, the last value of each scalar, and of the whole
    run `run/updates`, `run/evaluations`, `run/cost` and `run/seconds`. The names of metrics are not
    written with it: TensorBoard would take one run's for all runs beneath its logdir, and show no
    others. Without them it finds those of every run itself.

    TEXT has the resolved configuration and the console's summary.

    All numbers of a step are one event, which takes a quarter of the time of one for each.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, name="", version="", default_hp_metric=False)
        self._tags: set[str] = set()

    @rank_zero_only
    def begin(self, hyperparameters: Mapping[str, Any], config: dict[str, Any]) -> None:
        """Writes what is known before the training; `hparams.yaml` gets the same values."""
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionStartInfo

        self.log_hyperparams(dict(hyperparameters))
        start = SessionStartInfo()
        for name, value in hyperparameters.items():
            if isinstance(value, bool):
                start.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                start.hparams[name].number_value = value
            elif value is not None:
                start.hparams[name].string_value = str(value)
        self._session(session_start_info=start)
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("configuration", f"```yaml\n{text}```")

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Writes the numbers of a step, and a layout with charts of those that are new."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if not all(isinstance(value, int | float | Tensor) for value in metrics.values()):
            super().log_metrics(metrics, step)  # several curves in a chart, or a mistake
            return
        numbers = {tag: float(value) for tag, value in metrics.items()}
        gradnorm = numbers.get("train/gradnorm", 0.0)
        if gradnorm > 0:
            numbers["train/log10_gradnorm"] = math.log10(gradnorm)
        values = [Summary.Value(tag=tag, simple_value=x) for tag, x in numbers.items()]
        self._add(Summary(value=values), step)
        if not numbers.keys() <= self._tags:
            self._tags |= numbers.keys()
            self.experiment.add_custom_scalars(layout(self._tags))

    @rank_zero_only
    def end(self, result: Result, directory: Path) -> None:
        """Writes what came of the run."""
        from tensorboard.plugins.hparams.api_pb2 import Status
        from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo

        totals = {f"run/{name}": getattr(result, name) for name in ("updates", "evaluations")}
        totals |= {"run/cost": result.cost, "run/seconds": result.seconds}
        self.log_metrics(totals, result.updates)
        summary = f"```\n{result.table(directory)}\n```"
        self.experiment.add_text("summary", summary, result.updates)
        if result.status != "interrupted":  # which is to be gone on with, and has no end
            failed = result.status == "diverged"
            status = Status.STATUS_FAILURE if failed else Status.STATUS_SUCCESS
            self._session(session_end_info=SessionEndInfo(status=status))
        self.experiment.close()

    def _session(self, **info: Any) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import metadata
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        (part,) = info
        tags = {
            "session_start_info": metadata.SESSION_START_INFO_TAG,
            "session_end_info": metadata.SESSION_END_INFO_TAG,
        }
        content = metadata.create_summary_metadata(HParamsPluginData(**info))
        value = Summary.Value(tag=tags[part], metadata=content, tensor=metadata.NULL_TENSOR)
        self._add(Summary(value=[value]))

    def _add(self, summary: Any, step: int | None = None) -> None:
        self.experiment._get_file_writer().add_summary(summary, step)


def layout(tags: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Charts by part and title, as `SummaryWriter.add_custom_scalars` takes them."""
    found: dict[str, dict[str, list[Any]]] = {}
    for stage, part in STAGES.items():
        names = {tag.removeprefix(f"{stage}/") for tag in tags if tag.startswith(f"{stage}/")}
        ordered = [*(name for name in FIRST if name in names), *sorted(names - FIRST.keys())]
        charts = {
            # TensorBoard takes a tag for a regular expression that need not match to the end.
            FIRST.get(name, name): ["Multiline", [f"{re.escape(f'{stage}/{name}')}({LIMIT})?$"]]
            for name in ordered
            if not name.endswith(LIMIT)
        }
        if charts:
            found[part] = charts
    return found
