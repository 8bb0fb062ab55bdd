"""ZeRO, rebuilt from scratch, for any LightningModule: `scratchopt.zero` as a strategy."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn, TrainerStatus
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler
from torch.optim import Optimizer

from scratchopt.lightning.patch_method import do_nothing, patch_method
from scratchopt.zero import (
    STAGES,
    Stage1,
    Stage3,
    clip_gradients,
    gather_parameters,
    gather_state,
    load_state,
)


class ZeRO(DDPStrategy):
    """Shares optimizer state (stage 1), gradients (2) and parameters (3) out over the processes.

    Steps are those of DDP, and with two processes the same to the last bit. In stage 3 a parameter
    is whole while its unit computes, within `with trainer.strategy.stage.whole():`, and after the
    fit. A gradient lies in `parameter.shared.piece.grad`, this process's part of it. Checkpoints
    are single files with whole tensors, which any other strategy and number of processes loads.

    Validation outside of a fit, test and prediction have whole parameters in each process.

    By name, `Trainer(strategy="zero1")` and so on, once `scratchopt.lightning` is imported.

    Args:
        stage: 1, 2 or 3; see `scratchopt.zero`.
        settings: of Lightning's `DDPStrategy`, but for those of DDP's wrapper.

    Raises:
        ValueError: another stage.
        RuntimeError: what a stage refuses, such as an optimizer that needs all parameters at once.

    Reference: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
    Models", arXiv:1910.02054.
    """

    def __init__(self, stage: int = 1, **settings: Any) -> None:
        if stage not in STAGES:
            raise ValueError(f"Invalid stage: {stage} (1, 2 or 3)")
        super().__init__(**settings)
        self._kind = STAGES[stage]
        self._unpatch = do_nothing
        self.stage: Stage1 | None = None
        self._is_open = False  # whether the stage shares the module out

    def configure_ddp(self) -> None:
        """Leaves the module as it is: no wrapper averages its gradients."""

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Makes the optimizers, and shares out what they update."""
        super().setup_optimizers(trainer)
        module, callbacks = cast(Any, self.lightning_module), cast(Any, trainer).callbacks
        averaging = (StochasticWeightAveraging, WeightAveraging)
        for callback in callbacks:
            if isinstance(callback, BackboneFinetuning):
                raise RuntimeError(
                    f"{type(callback).__name__} gives the optimizer parameters after the others "
                    "have been shared out: give it all from the start, and thaw them as you train"
                )
            if self._kind is Stage3 and isinstance(callback, averaging):
                raise RuntimeError(
                    f"{type(callback).__name__} averages whole parameters, of which each process "
                    "has pieces: use strategy='zero2' (accelerator=zero2)"
                )
        if is_overridden("configure_gradient_clipping", module):
            rank_zero_warn(
                "configure_gradient_clipping: clip by self.clip_gradients(), as no parameter has a "
                ".grad; this process's part of it is parameter.shared.piece.grad"
            )
        self.stage = self._kind(module, self.optimizers)
        self._is_open = True

    def setup_precision_plugin(self) -> None:
        """Has the gradient clipped by the norm of all its pieces, and all processes scale alike."""
        super().setup_precision_plugin()
        plugin, stage = self.precision_plugin, self.stage
        if stage is None:
            return

        def clip(optimizer: Optimizer, clip_val: float) -> None:
            clip_gradients(stage, _unwrap(optimizer), clip_val)

        self._unpatch = patch_method(plugin, "clip_grad_by_norm", clip)
        scaler = getattr(plugin, "scaler", None)
        if scaler is not None and scaler.is_enabled():
            _refuse_own_unscaling(self.optimizers)
            vars(plugin)["scaler"] = ShardedGradScaler(
                self.root_device.type,
                init_scale=scaler.get_scale(),
                growth_factor=scaler.get_growth_factor(),
                backoff_factor=scaler.get_backoff_factor(),
                growth_interval=scaler.get_growth_interval(),
            )

    @contextmanager
    def block_backward_sync(self) -> Generator[None, None, None]:
        """Lets gradients add up meanwhile."""
        assert self.stage is not None
        self.stage.accumulating = True
        try:
            yield
        finally:
            self.stage.accumulating = False

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module's `training_step` with the parameters of its own."""
        return self._run(super().training_step, *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module's `validation_step`, within a fit with the parameters of its own."""
        return self._run(super().validation_step, *args, **kwargs)

    def _run(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        module: Any = self.lightning_module
        if self.stage is None or module.trainer.state.fn != TrainerFn.FITTING:
            return step(*args, **kwargs)
        return self.stage.run(step, *args, **kwargs)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole parameters and the buffers; on the first process."""
        if self.stage is None or not self._is_open:
            return super().lightning_module_state_dict()
        return gather_parameters(self.stage, keep=self.is_global_zero)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads parameters and buffers."""
        if self.stage is None or not self._is_open:
            super().load_model_state_dict(checkpoint, strict)
        else:
            with self.stage.whole():
                super().load_model_state_dict(checkpoint, strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The whole state of an optimizer, on the first process."""
        if self.stage is None:
            return super().optimizer_state(optimizer)
        return gather_state(self.stage, _unwrap(optimizer), keep=self.is_global_zero)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads this process's parts of whole states."""
        assert self.stage is not None
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=False):
            load_state(self.stage, optimizer, saved)

    def teardown(self) -> None:
        """Makes the parameters whole, for whatever comes after a fit that has not failed.

        Not as the training ends, since a search for a learning rate trains, and then the fit does.
        """
        module: Any = self.lightning_module
        if self.stage and self._is_open and module.trainer.state.status == TrainerStatus.RUNNING:
            self.stage.close()
            self._is_open = False
        self._unpatch()
        super().teardown()


def _unwrap(optimizer: Any) -> Optimizer:
    return optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer


def _refuse_own_unscaling(optimizers: list[Optimizer]) -> None:
    for optimizer in optimizers:
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            raise RuntimeError(
                f"{type(optimizer).__name__} with fused=True looks for gradients that overflow in "
                "its own process alone, so that others would step: leave fused out"
            )


for _stage in STAGES:
    StrategyRegistry.register(
        f"zero{_stage}", ZeRO, description=f"ZeRO from scratch, stage {_stage}", stage=_stage
    )
