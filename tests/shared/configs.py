"""Configurations, composed as the command line does."""

from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from scratchopt.config.schema import validate
from tests.shared.paths import CONF


def composed(*overrides: str) -> DictConfig:
    """Composes a configuration from overrides, as Hydra has it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def config(*overrides: str) -> dict[str, Any]:
    """Composes and validates a configuration: plain values."""
    return validate(composed(*overrides))
