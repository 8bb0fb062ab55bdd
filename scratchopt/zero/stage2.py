"""ZeRO stage 2: of the gradient, too, each process keeps its own share alone."""

from scratchopt.zero.processes import wait_for
from scratchopt.zero.shared_bucket import SharedBucket
from scratchopt.zero.stage1 import Stage1


class Stage2(Stage1):
    """Stage 1, but each bucket goes as soon as it is reduced, and the own segment alone stays.

    So no process ever has the whole gradient: at most one bucket, and its own segments of those
    before. The traffic is the same, 2Ψ. While batches accumulate the gradient is whole, as in
    stage 1: what is reduced is the sum, so that the step is the very one that DDP takes.

    Args:
        module, optimizers, processes, bucket_bytes: as in `Stage1`.

    Reference: Rajbhandari et al., arXiv:1910.02054, section 5.2.
    """

    def _reduce(self, bucket: SharedBucket) -> None:
        """Averages a bucket, of which nothing stays but this process's segment."""
        super()._reduce(bucket)
        wait_for(self._works)
        assert bucket.gradient is not None
        bucket.own = bucket.segment(bucket.gradient).clone()
        bucket.gradient = None

    def _hand_over(self, bucket: SharedBucket, found: list[bool]) -> None:
        """Gives the pieces their gradients."""
        if bucket.own is not None:
            bucket.give_gradients(bucket.own, found)
