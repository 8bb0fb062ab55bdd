"""TensorBoard's protocol buffers for what no method of a SummaryWriter writes."""

# Its modules are generated, and have no types.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping
from typing import Any


def numbers(values: Mapping[str, float]) -> Any:
    """A summary of several scalars, by tag."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in values.items()])


def run_started(hyperparameters: Mapping[str, Any]) -> Any:
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


def run_ended(failed: bool) -> Any:
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
