"""Schemas of a configuration's nodes: one for each task, and one for the accelerator."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from scratchopt.config import accelerator as machine
from scratchopt.config.fields import any_seed, count, list_of_counts, must_be, one_of
from scratchopt.config.paths import absolute_path


def _is_point(value: Any) -> bool:
    coordinates: list[Any] = value if isinstance(value, list) and value else [value]
    return all(type(x) in (int, float) and isfinite(x) for x in coordinates)


@dataclass
class Toy:
    """The keys of `tasks.toy.Toy`."""

    function: str = one_of("article", "rosenbrock", "rastrigin", "beale", "quadratic")
    start: Any = must_be("a number or a list of numbers, such as -5 or [1,2]", _is_point)  # noqa: RUF009
    tolerance: float = must_be("a number >= 0", lambda x: x >= 0)
    dtype: str = one_of("float32", "float64")
    condition_number: float = must_be("a number >= 1", lambda x: x >= 1)


@dataclass
class LinearRegression:
    """The keys of `tasks.linear_regression.LinearRegression`."""

    loss: str = one_of("mse", "mae", "huber")
    batch_size: int | None = must_be("an integer >= 1, or null for all", lambda n: n >= 1)
    dtype: str = one_of("float32", "float64")
    data_seed: int = any_seed()
    seed: int = any_seed()
    huber_delta: float = must_be("a number > 0", lambda x: x > 0)


@dataclass
class LogisticRegression:
    """The keys of `tasks.logistic_regression.LogisticRegression`, and of all tasks on MNIST."""

    batch_size: int = count()
    validation_size: int = must_be("an integer in [1, 60000)", lambda n: 1 <= n < 60_000)
    data_dir: str | None = must_be("an existing folder", lambda d: absolute_path(d).is_dir())
    seed: int = any_seed()


@dataclass
class MNIST(LogisticRegression):
    """The keys of `tasks.mnist.MNIST`."""

    hidden: list[int] = list_of_counts()  # noqa: RUF009
    activation: str = one_of("relu", "tanh", "sigmoid", "gelu")


@dataclass
class DeepLinear(LogisticRegression):
    """The keys of `tasks.deep_linear.DeepLinear`."""

    hidden: list[int] = list_of_counts()  # noqa: RUF009
    gain: float = must_be("a number > 0", lambda x: x > 0)


@dataclass
class CNN(LogisticRegression):
    """The keys of `tasks.cnn.CNN`."""

    channels: list[int] = list_of_counts()  # noqa: RUF009


@dataclass
class Autoencoder(LogisticRegression):
    """The keys of `tasks.autoencoder.Autoencoder`."""

    hidden: list[int] = list_of_counts()  # noqa: RUF009
    code: int = count()
    incoming: int = count()


@dataclass
class Transformer:
    """The keys of `tasks.transformer.Transformer`."""

    width: int = count()
    layers: int = count()
    heads: int = count()
    context: int = must_be("an integer in [1, 10000]", lambda n: 1 <= n <= 10_000)
    batch_size: int = count()
    seed: int = any_seed()


@dataclass
class NoisyQuadratic:
    """The keys of `tasks.noisy_quadratic.NoisyQuadratic`."""

    dim: int = count()
    condition_number: float = must_be("a number >= 1", lambda x: x >= 1)
    noise: float = must_be("a number >= 0", lambda x: x >= 0)
    rotated: bool = must_be("true or false")
    batch_size: int = count()
    dtype: str = one_of("float32", "float64")
    seed: int = any_seed()


@dataclass
class Accelerator:
    """The Trainer's arguments of these names; `accelerator.py` says what goes together.

    Args:
        accelerator: the kind of device; auto, a GPU, or where there is none, the processor.
        devices: how many on each machine, or which GPUs; each has a process.
        num_nodes: machines that train together.
        strategy: what a process holds of the model where there are several: all of it (ddp), or
            a share (zero1, zero2, zero3, fsdp2).
        precision: of parameters and arithmetic, in bits.
    """

    accelerator: str = one_of("auto", "cpu", "cuda", "mps")
    devices: Any = must_be(  # noqa: RUF009
        "a number >= 1, a list of GPUs such as [0,2], or auto", machine.are_devices
    )
    num_nodes: int = count()
    strategy: str = one_of(*machine.STRATEGIES)
    precision: str = one_of(*machine.PRECISIONS)


@dataclass
class ComparisonConfig:
    """The keys by which `scripts/compare.py` compares; one not given stays as in any run.

    Args:
        metric: what the optimizers are compared by.
        mode: whether less of it is better, or more.
        target: the value of the metric to be reached; the gradient evaluations to it are the cost.
        validate_steps: steps between two validations.
        max_steps: steps of a run at most.
    """

    metric: str = must_be(
        "the tag of a number of training or validation, such as val/loss; the test decides nothing",
        lambda tag: not tag.startswith("test/"),
    )
    mode: str = one_of("min", "max")
    target: float | None = must_be("a number, or null for a task that ends by itself")
    validate_steps: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)
    max_steps: int | None = must_be("an integer >= 1, or null", lambda n: n >= 1)


# A target that is not among these checks its own arguments.
SCHEMAS = {
    "tasks.toy.Toy": Toy,
    "tasks.linear_regression.LinearRegression": LinearRegression,
    "tasks.mnist.MNIST": MNIST,
    "tasks.logistic_regression.LogisticRegression": LogisticRegression,
    "tasks.deep_linear.DeepLinear": DeepLinear,
    "tasks.cnn.CNN": CNN,
    "tasks.autoencoder.Autoencoder": Autoencoder,
    "tasks.transformer.Transformer": Transformer,
    "tasks.noisy_quadratic.NoisyQuadratic": NoisyQuadratic,
}
