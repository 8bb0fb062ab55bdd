"""The facts of a method that stand in its class, where all others look them up."""

from typing import Any, ClassVar

from scratchopt.engine.update import Rule
from scratchopt.ranges import Range


class Method:
    """The attributes of a method's class, with their defaults."""

    # The update of the paper, `rule(p, g, *buffers, **numbers)`, in place on p and the buffers.
    rule: ClassVar[Rule]
    # The state key of each buffer that it may keep, in the rule's order.
    buffers: ClassVar[tuple[str, ...]] = ()
    # What the rule needs to see at once: "elementwise", each number by itself; "tensor", a whole
    # parameter; "matrix", the same of 2 dimensions or more; "global", sums over all parameters.
    shape: ClassVar[str] = "elementwise"
    # The numbers of a step that the rule takes beside those of its group: `numbers(*, t, lr, …)`
    # returns them by name, in plain Python. It gets those of `kept_numbers` as each parameter's
    # state has them, 0-dim tensors, and returns them anew; `first_value` says where they start.
    numbers: Any = None
    kept_numbers: ClassVar[tuple[str, ...]] = ()
    # Of shape "global": `sums(p, g, *buffers, **numbers)` returns sums over the elements of one
    # tensor by name, 0-dim tensors; the rule and `numbers` take those over all parameters.
    sums: Any = None
    # Where the gradient is taken, if not at p: `gradient_point(p, *buffers, **numbers)` moves p.
    gradient_point: Any = None
    # Whether p is an average of points, and gradients are taken far from it, so that the running
    # statistics of a BatchNorm have to be made at p.
    averages: ClassVar[bool] = False
    # Whether the rule leaves an element alone where g is zero, and so takes a sparse g.
    sparse: ClassVar[bool] = False

    # Ranges of the hyperparameters that it has alone.
    ranges: ClassVar[tuple[Range, ...]] = ()

    # The class of torch.optim that is the same method, or is in groups with these values; torch has
    # their keys for what is one method among several there.
    torch_twin: ClassVar[str] = ""
    fixed: ClassVar[dict[str, Any]] = {}

    # Methods, by their files, that it is for some values of these of its hyperparameters: tuned
    # well, it can't be worse (Choi et al. (2019), arXiv 1910.05446).
    includes: ClassVar[tuple[str, ...]] = ()
    includes_by: ClassVar[tuple[str, ...]] = ()

    # The largest lr·λ at which it is stable on a quadratic of curvature λ, from a group's numbers
    # by name. For an adaptive method λ is that of P⁻¹H, with P = `preconditioner(state, group)`,
    # where the state's step is a plain number.
    stability_limit: Any = None
    preconditioner: Any = None

    @classmethod
    def rule_for(cls, group: dict[str, Any]) -> tuple[Rule, tuple[str, ...]]:
        """The rule that a group asks for, and the keys of its buffers."""
        return cls.rule, cls.buffers

    @classmethod
    def method_for(cls, group: dict[str, Any]) -> "type[Method]":
        """The method of a group: it has the rule, the buffers with their first values, the shape.

        It is another where a method leaves some parameters to another, as Muon its vectors to
        AdamW.
        """
        return cls

    @classmethod
    def is_twin_of(cls, group: dict[str, Any]) -> bool:
        """True if a group of its torch twin is this method."""
        return all(group.get(name, value) == value for name, value in cls.fixed.items())

    @staticmethod
    def from_torch_state(state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter, from that in its torch twin."""
        return state

    @staticmethod
    def to_torch_state(state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter in its torch twin."""
        return state
