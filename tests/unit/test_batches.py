"""The loaders: what is handed out, in which order, and what a resume goes on with."""

import random
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from scratchopt.batches import Batches, Endless, InOrder
from tests.shared.trainers import quiet_trainer

reproducible = settings(deadline=None, derandomize=True)
sizes = {
    "entries": st.integers(1, 40),
    "batch_size": st.integers(1, 12),
    "world_size": st.integers(1, 4),
    "seed": st.integers(0, 2**32 - 1),
}


def entries(loader: Batches | InOrder) -> list[list[int]]:
    return [batch.tolist() for (batch,) in loader]


def loader(count: int = 10, batch_size: int | None = 3, **options: Any) -> Batches:
    return Batches([torch.arange(count)], batch_size, **{"shuffle": True, "seed": 0} | options)


@reproducible
@given(**sizes)
def test_an_epoch_hands_out_every_entry_once(entries, batch_size, world_size, seed):
    assume(entries >= world_size)
    ranks = [
        loader(entries, batch_size, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    seen = [entry for rank in ranks for (batch,) in rank for entry in batch.tolist()]
    assert len(seen) == len(set(seen))
    assert len(seen) == entries - entries % world_size


@reproducible
@given(**sizes)
def test_every_rank_has_as_many_batches_of_the_same_sizes_none_empty(
    entries, batch_size, world_size, seed
):
    assume(entries >= world_size)
    ranks = [
        loader(entries, batch_size, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    first, *others = [[len(batch) for (batch,) in rank] for rank in ranks]
    assert len(first) == len(ranks[0])
    assert all(other == first for other in others)
    assert min(first) >= 1
    assert max(first) <= batch_size


@pytest.mark.parametrize("count", [100, 104, 110])
def test_two_processes_with_64_see_the_global_batches_of_one_with_128(count):
    one = loader(count * 10, 128)
    left, right = (loader(count * 10, 64, rank=rank, world_size=2) for rank in (0, 1))
    assert len(one) == len(left) == len(right)
    for (whole,), (a,), (b,) in zip(one, left, right, strict=True):
        assert torch.equal(whole, torch.cat([a, b]))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    first, second = loader(1000, 100, seed=7), loader(1000, 250, seed=7)
    for _ in range(3):
        torch.manual_seed(random.randrange(2**32))
        left = list(chain(*entries(first)))
        torch.manual_seed(random.randrange(2**32))
        assert left == list(chain(*entries(second)))


def test_every_pair_of_seed_and_epoch_has_an_order_of_its_own():
    orders = set()
    for seed in (0, 1, 2**32, 2**32 + 1):
        batches = loader(1000, None, seed=seed)
        orders |= {tuple(*entries(batches)) for _ in range(4)}
    assert len(orders) == 16


def test_entries_that_do_not_divide_among_the_ranks_are_the_last_of_the_order():
    (order,) = entries(loader(11, None))
    ranks = [list(chain(*entries(loader(11, None, rank=r, world_size=3)))) for r in range(3)]
    assert list(chain(*ranks)) == order[:9]


def test_the_order_takes_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    entries(loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_shuffled_order_is_uniform():
    # 3! = 6 orders in 6000 epochs: each count is 1000 ± 28.9, so 145 is five standard deviations.
    batches = loader(3, None)
    orders = [tuple(entries(batches)[0]) for _ in range(6000)]
    assert all(abs(orders.count(order) - 1000) < 145 for order in set(orders))
    assert len(set(orders)) == 6


def test_unshuffled_batches_are_slices_in_order():
    assert entries(loader(shuffle=False)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_drop_last_leaves_out_a_batch_that_is_not_full():
    assert entries(loader(shuffle=False, drop_last=True)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert len(loader(shuffle=False, drop_last=True)) == 3


def test_without_a_batch_size_all_is_one_batch():
    assert entries(loader(batch_size=None, shuffle=False)) == [list(range(10))]


def test_a_batch_has_the_same_rows_of_every_tensor():
    x = torch.randn(10, 4)
    for left, right in Batches([x, 2 * x], 3, shuffle=True, seed=0):
        assert torch.equal(2 * left, right)


@reproducible
@given(epoch=st.integers(0, 3), position=st.integers(0, 4), **sizes)
def test_a_loaded_state_continues_exactly_there(
    epoch, position, entries, batch_size, world_size, seed
):
    assume(entries >= world_size)
    options = {"seed": seed, "rank": world_size - 1, "world_size": world_size}
    running = loader(entries, batch_size, **options)
    position = min(position, len(running))
    stream = [batch.tolist() for _ in range(epoch + 2) for (batch,) in running]

    resumed = loader(entries, batch_size, **options)
    resumed.load_state_dict({"epoch": epoch, "position": position})
    rest = [batch.tolist() for (batch,) in resumed]
    if position == len(running):  # it wraps, so that no epoch is lost
        assert len(rest) == len(running)
    start = epoch * len(running) + position
    assert rest == stream[start : start + len(rest)]
    assert start + len(rest) == (epoch + 1 + (position == len(running))) * len(running)


def test_state_counts_the_batches_handed_out_and_wraps_at_the_end():
    batches, states = loader(), []
    states.append(batches.state_dict())
    for _ in batches:
        states.append(batches.state_dict())
    assert [(s["epoch"], s["position"]) for s in states] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


@pytest.mark.parametrize("position", [0, 2, 4])
def test_iter_alone_changes_nothing(position):
    plain, teased = loader(), loader()
    for batches in (plain, teased):
        batches.load_state_dict({"epoch": 5, "position": position})
    state = teased.state_dict()
    iter(teased)
    iter(teased)
    assert teased.state_dict() == state
    assert entries(teased) == entries(plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, r"Invalid batch_size: 0 \(batch_size >= 1, or None for all\)"),
        ({"count": 1, "world_size": 2}, "No batch of 3 for each of 2 processes in 1 entries"),
        ({"drop_last": True, "batch_size": 11}, "No batch of 11 for each of 1 processes in 10"),
        ({"count": 0}, "in 0 entries: choose a smaller batch_size"),
    ],
)
def test_what_gives_no_batch_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        loader(**arguments)


def test_tensors_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"Tensors of unequal length: \[2, 3\]"):
        Batches([torch.zeros(2), torch.zeros(3)], 1, shuffle=True, seed=0)


def test_a_position_beyond_the_epoch_is_refused():
    with pytest.raises(ValueError, match="Invalid position: 5 in an epoch of 4 batches"):
        loader().load_state_dict({"epoch": 0, "position": 5})


@reproducible
@given(entries=st.integers(8, 60), batch_size=st.integers(2, 12), world_size=st.integers(1, 4))
def test_in_order_shows_every_entry_once_in_batches_that_are_never_empty(
    entries, batch_size, world_size
):
    data = [torch.arange(entries)]
    ranks = [InOrder(data, batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    batches = [batch for rank in ranks for (batch,) in rank]
    assert torch.equal(torch.cat(batches), data[0])
    assert len({len(rank) for rank in ranks}) == 1
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_in_order_starts_anew_each_time():
    batches = InOrder([torch.arange(5)], 2)
    next(iter(batches))
    assert entries(batches) == entries(batches) == [[0, 1], [2, 3], [4]]
    assert len(batches) == 3


def test_endless_gives_the_very_batch_and_has_no_length():
    batch = torch.zeros(1)
    endless = Endless(batch)
    for given_, _ in zip(endless, range(1000), strict=False):
        assert given_ is batch
    assert not hasattr(endless, "__len__")


# The same under Lightning, which calls iter() when it sets up the data and again for each epoch.


class Reader(LightningModule):
    """Trains on nothing, and remembers what it was given."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.tensors, self.seen, self.validated = tensors, [], []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def train_dataloader(self) -> Batches:
        return Batches(self.tensors, 3, shuffle=True, seed=0)

    def val_dataloader(self) -> InOrder:
        return InOrder(self.tensors, 3)

    def training_step(self, batch: tuple[Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch[0].tolist())
        return self.weight**2

    def validation_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        self.validated.append(batch[0].tolist())


class SaveAlways(Callback):
    """Saves after each batch, before and after the validation, and after each epoch."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def save(self, trainer: Trainer, module: Any) -> None:
        count = len(list(self.folder.iterdir()))
        trainer.save_checkpoint(self.folder / f"{count:02}-{len(module.seen):02}.ckpt")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.save(trainer, pl_module)

    def on_validation_end(self, trainer, pl_module) -> None:
        self.save(trainer, pl_module)

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.save(trainer, pl_module)


def read(callbacks: list[Callback] | None = None, checkpoint: str | None = None, **options: Any):
    reader = Reader([torch.arange(10)])
    options = {"num_sanity_val_steps": 2} | options
    quiet_trainer(callbacks or (), **options).fit(reader, ckpt_path=checkpoint)
    return reader


def test_lightning_sees_each_epoch_of_the_loader_and_the_whole_validation_set():
    reader = read(max_epochs=3, num_sanity_val_steps=2)
    alone = loader()
    assert reader.seen == [batch for _ in range(3) for batch in entries(alone)]
    once = entries(InOrder([torch.arange(10)], 3))
    assert reader.validated == once[:2] + 3 * once


def test_lightning_limited_to_some_batches_goes_on_where_it_left_the_epoch():
    reader = read(max_epochs=3, limit_train_batches=2, num_sanity_val_steps=0)
    alone = loader()
    assert reader.seen == (entries(alone) + entries(alone))[:6]


def test_lightning_that_makes_a_new_loader_each_epoch_does_not_repeat_the_first():
    reader = read(max_epochs=3, reload_dataloaders_every_n_epochs=1, num_sanity_val_steps=0)
    alone = loader()
    assert reader.seen == [batch for _ in range(3) for batch in entries(alone)]


@pytest.mark.parametrize(
    "length", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 12}], ids=str
)
def test_lightning_resumes_from_any_checkpoint_with_the_next_batch(tmp_path, length):
    (folder := tmp_path / "checkpoints").mkdir()
    whole = read([SaveAlways(folder)], **length, num_sanity_val_steps=0).seen
    assert len(whole) == 12
    checkpoints = sorted(folder.iterdir())
    assert len(checkpoints) == 12 + 3 + 3
    for checkpoint in checkpoints:
        done = int(checkpoint.stem[-2:])
        assert read(checkpoint=str(checkpoint), **length).seen == whole[done:], checkpoint
