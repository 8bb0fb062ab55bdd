"""The configurations: every one composes, and says what the code says."""

import importlib
import inspect
from copy import deepcopy
from dataclasses import fields
from functools import cache
from itertools import product
from typing import Any, get_args, get_type_hints

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from scratchopt.config.composition import SweepConfigLoader
from scratchopt.config.fields import UserError
from scratchopt.config.groups import SCHEMAS, Accelerator, ComparisonConfig
from scratchopt.config.optimizers import optimizer_schema
from scratchopt.config.schedules import SCHEDULES, OneCycle
from scratchopt.config.schema import LATER, RunConfig, validate
from scratchopt.method_files import methods
from scratchopt.optimizer import _DEFAULTS
from scratchopt.problems.functions import functions
from tasks.choices import DTYPES
from tasks.mnist import ACTIVATIONS
from tests.shared.cases import REPRESENTATIVES
from tests.shared.configs import composed
from tests.shared.paths import CONF, OPTIMIZERS, TASKS, choices_of

COMBINATIONS = [
    pytest.param(
        *chosen,
        id="-".join(chosen),
        # Every task, every optimizer and each accelerator, each with what is composed without it.
        marks=() if len({"mnist", "nag", "auto"} & set(chosen)) > 1 else pytest.mark.full,
    )
    for chosen in product(TASKS, OPTIMIZERS, choices_of("accelerator"))
]


def constructor_of(target: str) -> dict[str, inspect.Parameter]:
    """The arguments by name; `**options: Unpack[Options]` are those of every method."""
    module, _, name = target.rpartition(".")
    made = getattr(importlib.import_module(module), name)
    found = dict(inspect.signature(made).parameters)
    if options := found.pop("options", None):
        taken = get_args(options.annotation)[0]
        for key in get_type_hints(taken):
            found[key] = inspect.Parameter(key, options.KEYWORD_ONLY, default=_DEFAULTS[key])
    return found


def schema_of(target: str) -> type:
    found = SCHEMAS.get(target) or SCHEDULES.get(target) or optimizer_schema(target)
    assert found is not None
    return found


@cache
def keys_of(optimizer: str) -> set[str]:
    return set(composed(f"optimizer={optimizer}").optimizer)


def test_a_sweep_s_jobs_are_composed_as_hydra_composes_each(tmp_path):
    """Jobs of the same choices, whose values must not reach each other, and of others."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/own.yaml").write_text("size: 1\n")
    searchpath = f"hydra.searchpath=[file://{tmp_path}]"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydras = GlobalHydra.instance().config_loader()
    own = SweepConfigLoader(hydras.get_search_path())
    common = ["hydra/launcher=joblib", "hydra.output_subdir=null"]
    jobs = [
        ["task=toy", "optimizer=nag", "optimizer.lr=0.1", "+optimizer.extra={a: [1, 2]}"],
        ["task=toy", "optimizer=nag", "optimizer.lr=0.2", "seed=1"],
        ["task=toy", "optimizer=adam", "optimizer.betas=[0.5,0.9]", "~task.dtype"],
        ["optimizer.lr=0.3", "task=mnist", "task.hidden=[4]"],
        ["optimizer.lr=0.3", "optimizer={lr: 0.4}", "comparison=null", "comparison={target: 1}"],
        [searchpath, "+extra=own", "extra.size=2"],
    ]
    for job in [*jobs, *jobs]:
        asked = ("train", [*common, *job], RunMode.RUN)
        composed, expected = own.load_configuration(*asked), hydras.load_configuration(*asked)
        assert OmegaConf.to_yaml(composed) == OmegaConf.to_yaml(expected)
        assert composed._get_flag("struct")
        assert not composed.hydra._get_flag("readonly")
    for wrong in ("optimizer.lrr=1", "optimizer=none", "seed=1,2"):
        errors = []
        for loader in (own, hydras):
            with pytest.raises(Exception) as caught:
                loader.load_configuration("train", [wrong], RunMode.RUN)
            errors.append((type(caught.value), str(caught.value)))
        assert errors[0] == errors[1]


def test_another_sweep_composes_files_anew(tmp_path):
    sizes = []
    for size in (1, 2):
        (tmp_path / "own.yaml").write_text(f"size: {size}\n")
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            path = GlobalHydra.instance().config_loader().get_search_path()
        loader = SweepConfigLoader(path)
        sizes.append(loader.load_configuration("own", ["+seed=0"], RunMode.RUN).size)
    assert sizes == [1, 2]


@pytest.mark.parametrize(("task", "optimizer", "accelerator"), COMBINATIONS)
def test_every_combination_is_valid(task, optimizer, accelerator):
    config = validate(
        composed(f"task={task}", f"optimizer={optimizer}", f"accelerator={accelerator}")
    )
    assert config["task"]["_target_"] in SCHEMAS
    assert optimizer_schema(config["optimizer"]["_target_"])
    assert isinstance(config["optimizer"]["lr"], float)
    assert isinstance(config["accelerator"]["precision"], str)


def test_what_becomes_of_a_validated_configuration_reaches_no_other():
    """Nodes of the same content are validated once."""
    first = validate(composed("task=toy"))
    expected = deepcopy(first)
    first["task"]["start"] = first["comparison"]["metric"] = "another"
    first["figures"] = False
    assert validate(composed("task=toy")) == expected


def test_a_configuration_from_before_some_keys_were_there_means_what_it_did():
    older = composed("comparison=null")
    now = validate(older)
    with open_dict(older):
        for key in LATER:
            del older[key]
    assert validate(older) == now


@pytest.mark.parametrize("group", ["task", "optimizer", "schedule"])
def test_keys_are_those_of_schema_and_constructor(group):
    for choice in choices_of(group):
        node = composed(f"{group}={choice}")[group]
        keys = {key for key in node if not key.startswith("_")}
        taken = set(constructor_of(node._target_)) - {"optimizer", "params", "total_steps"}
        assert keys == taken, choice
        assert keys == {field.name for field in fields(schema_of(node._target_))}, choice


def test_every_optimizer_of_the_library_has_a_configuration():
    library = importlib.import_module("scratchopt")
    configured = {composed(f"optimizer={name}").optimizer._target_ for name in OPTIMIZERS}
    classes = {name for name in library.__all__ if isinstance(getattr(library, name), type)}
    assert configured >= {f"scratchopt.{name}" for name in classes - {"Optimizer"}}
    assert set(OPTIMIZERS) == set(methods())


def test_a_schema_has_the_constructor_s_defaults_within_its_bounds():
    for target in [*SCHEMAS, *SCHEDULES, *(source.target for source in methods().values())]:
        parameters = constructor_of(target)
        for field in fields(schema_of(target)):
            default = parameters[field.name].default
            assert default is None or field.metadata["holds"](default), (target, field.name)


def test_top_level_keys_are_those_of_the_schema():
    known = {field.name for field in fields(RunConfig)}
    used = {key for task in TASKS for key in composed(f"task={task}")}
    assert used == known
    assert {field.name for field in fields(Accelerator)} == set(composed().accelerator)


@pytest.mark.parametrize("task", TASKS)
def test_what_suits_a_task_is_for_optimizers_and_keys_that_exist(task):
    cfg = composed(f"task={task}")
    by_function = cfg.get("settings_by_function", {"": cfg.settings})
    for settings in by_function.values():
        assert set(settings) <= set(OPTIMIZERS)
        for optimizer, hyperparameters in settings.items():
            assert set(hyperparameters) <= keys_of(optimizer), optimizer


@pytest.mark.parametrize("function", list(functions()))
@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.full)
        for name in OPTIMIZERS
    ],
)
def test_what_suits_a_function_reaches_the_optimizer(function, optimizer):
    cfg = composed("task=toy", f"task.function={function}", f"optimizer={optimizer}")
    suits = cfg.settings_by_function[function].get(optimizer, {})
    assert {key: cfg.optimizer[key] for key in suits} == suits


def test_a_task_s_length_gives_way_to_the_command_line():
    assert composed("task=toy").max_steps == 2000
    assert composed("task=toy", "max_steps=7").max_steps == 7
    assert composed("task=mnist", "max_epochs=2").max_epochs == 2


def test_the_names_to_choose_from_are_the_code_s():
    def names(target: str, key: str) -> set[str]:
        (field,) = (field for field in fields(SCHEMAS[target]) if field.name == key)
        return set(field.metadata["what"].removeprefix("one of ").split(", "))

    assert names("tasks.toy.Toy", "function") == set(functions())
    assert names("tasks.toy.Toy", "dtype") == set(DTYPES)
    assert names("tasks.linear_regression.LinearRegression", "dtype") == set(DTYPES)
    assert names("tasks.mnist.MNIST", "activation") == set(ACTIVATIONS)
    for loss in names("tasks.linear_regression.LinearRegression", "loss"):
        config = validate(composed("task=linear_regression", f"task.loss={loss}"))
        assert config["task"]["loss"] == loss


@pytest.mark.parametrize(
    ("overrides", "key", "why"),
    [
        ("optimizer.lr=abc", "optimizer.lr=abc", "a number"),
        ("optimizer.lr=null", "optimizer.lr=null", "a number"),
        ("optimizer.lr=-1", "optimizer.lr=-1", r"Invalid learning rate: -1 \(lr >= 0\)"),
        ("optimizer.lr=nan", "optimizer.lr=nan", "Invalid learning rate: nan"),
        ("optimizer.momentum=1.2", "optimizer.momentum=1.2", "0 <= momentum < 1"),
        ("optimizer.foreach=maybe", "optimizer.foreach=maybe", "true, false or null"),
        ("+optimizer.foo=1", "optimizer.foo", "no such key"),
        ("+task.foo=1", "task.foo", "no such key"),
        ("+accelerator.foo=1", "accelerator.foo", "no such key"),
        ("+foo=1", "foo", "no such key"),
        ("task.batch_size=0", "task.batch_size=0", "an integer >= 1"),
        ("task.batch_size=1.5", "task.batch_size=1.5", "an integer >= 1"),
        ("task.hidden=[a]", r"task.hidden=\[", "a list of integers >= 1"),
        ("task.hidden=[64,0]", r"task.hidden=\[64, 0\]", "a list of integers >= 1"),
        ("task.hidden=64", "task.hidden=64", "a list of integers >= 1"),
        ("task.activation=foo", "task.activation=foo", "one of relu, tanh"),
        ("task.validation_size=60000", "task.validation_size=60000", r"in \[1, 60000\)"),
        ("task.data_dir=/nonexistent", "task.data_dir=/nonexistent", "an existing folder"),
        ("seed=-1", "seed=-1", r"in \[0, 2\*\*32\)"),
        ("max_epochs=0", "max_epochs=0", "-1 for no limit"),
        ("max_epochs=null", "max_epochs=null", "no run ends"),
        ("log_every=0", "log_every=0", "an integer >= 1"),
        ("threads=100000000", "threads=100000000", "an integer from 1 to 1024"),
        ("task=toy task.start=abc", "task.start=abc", "a number or a list"),
        ("task=toy task.start=[1,b]", r"task.start=\[1", "a number or a list"),
        ("task=toy task.start=inf", "task.start=", "a number or a list"),
        ("task=toy task.start=[]", r"task.start=\[\]", "a number or a list"),
        ("task=toy task.tolerance=-1", "task.tolerance=-1", "a number >= 0"),
        ("task=toy task.function=foo", "task.function=foo", "one of article"),
        ("task=toy task.dtype=int8", "task.dtype=int8", "one of float32, float64"),
        ("task=toy task.condition_number=0", "task.condition_number=0", "a number >= 1"),
        ("task=linear_regression task.loss=foo", "task.loss=foo", "one of mse, mae, huber"),
        ("task=linear_regression task.huber_delta=0", "task.huber_delta=0", "a number > 0"),
        ("optimizer=adagrad optimizer.lr_decay=inf", "optimizer.lr_decay=inf", "lr_decay >= 0"),
        ("optimizer=adam optimizer.betas=[0.9,nan]", "optimizer.betas=", "index 1: nan"),
        ("comparison=5", "comparison=5", r"must be keys \(metric, mode, …\) with values"),
        ("comparison.target=abc", "comparison.target=abc", "a number, or null"),
        ("settings=5", "settings=5", "must be optimizers with their values"),
        ("settings.nag=5", "settings.nag=5", "must be keys of the optimizer with values"),
        ("batch_size_by_solver=5", "batch_size_by_solver=5", "must be keys with values, or null"),
        ("task=toy settings_by_function=5", "settings_by_function=5", "must be keys with values"),
        ("accelerator.devices={a:1}", "accelerator.devices=", "a number >= 1"),
        ("seed=[1]", r"seed=\[1\]", "an integer in"),
        ("schedule=cosine schedule.warmup=-1", "schedule.warmup=-1", "an integer >= 0"),
        ("schedule=cosine schedule.end_factor=2", "schedule.end_factor=2", r"a number in \[0, 1\]"),
        ("schedule.momentum_rise=0", "schedule.momentum_rise=0", "an integer >= 1, or null"),
        ("schedule=step schedule.gamma=0", "schedule.gamma=0", "a number > 0"),
        ("schedule=one_cycle schedule.base_momentum=1", "schedule.base_momentum=1", r"\[0, 1\)"),
        ("+schedule.foo=1", "schedule.foo", r"no such key \(there are warmup, momentum_rise\)"),
        (
            "optimizer=sgd schedule.momentum_rise=9",
            "schedule.momentum_rise=9",
            "SGD has no momentum; leave it out",
        ),
        (
            "schedule=cosine max_epochs=-1 max_steps=-1",
            "schedule=cosine",
            "no end that is known; give max_steps",
        ),
        (
            "schedule=linear max_steps=9 schedule.warmup=9",
            "schedule.warmup=9",
            "must be less than max_steps=9",
        ),
        ("task._target_=5", "task._target_=5", "a name with its module, such as tasks.toy.Toy"),
        ("task._target_=Toy", "task._target_=Toy", "a name with its module"),
        ("task._target_=a..b", "task._target_=a..b", "a name with its module"),
        ("task._target_=__main__.X", "task._target_=__main__.X", "__main__ is the command or the"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(overrides, key, why):
    with pytest.raises(UserError, match=f"^{key}.*{why}") as refused:
        validate(composed(*overrides.split()))
    assert "\n" not in str(refused.value)


FLOATS = [
    (f"{prefix}{field.name}", f"task={task}")
    for prefix, task, schema in [
        ("", "mnist", RunConfig),
        ("comparison.", "mnist", ComparisonConfig),
        ("schedule.", "mnist schedule=one_cycle", OneCycle),
        *(("task.", task, SCHEMAS[composed(f"task={task}").task._target_]) for task in TASKS),
    ]
    for field in fields(schema)
    if "float" in str(field.type)
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("key", "task"), FLOATS)
def test_every_number_is_finite(key, task, value):
    with pytest.raises(UserError, match=f"^{key}=.*: must be a number.*, and finite"):
        validate(composed(*task.split(), f"{key}={value}"))


@pytest.mark.parametrize(
    ("override", "value"),
    [("task.start=-5", -5), ("task.start=[1.5,-2]", [1.5, -2]), ("task.start=null", None)],
)
def test_a_start_is_a_number_or_a_list_or_the_function_s(override, value):
    assert validate(composed("task=toy", override))["task"]["start"] == value


def test_values_come_in_the_schema_s_types():
    config = validate(composed("optimizer.lr='0.5'", "accelerator.precision=64"))
    assert config["optimizer"]["lr"] == 0.5
    assert config["accelerator"]["precision"] == "64"


def test_a_schedule_that_changes_nothing_is_none():
    assert validate(composed())["schedule"] is None
    assert validate(composed("schedule=constant", "schedule.warmup=0"))["schedule"] is None
    for asked in ("schedule.warmup=1", "schedule.momentum_rise=250", "schedule=linear"):
        assert validate(composed(asked))["schedule"]


def test_another_s_target_is_left_to_its_constructor():
    cfg = composed()
    theirs = {"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.9, 2]}
    with open_dict(cfg):
        cfg.optimizer = OmegaConf.create(theirs)
    assert validate(cfg)["optimizer"] == theirs


@pytest.mark.parametrize("name", ["task", "optimizer"])
def test_a_node_without_a_target_is_refused(name):
    cfg: Any = composed()
    cfg[name] = None
    with pytest.raises(UserError, match=f"^{name}=null: .*_target_"):
        validate(cfg)
