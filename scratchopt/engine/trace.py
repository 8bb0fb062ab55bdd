"""A rule as a list of operations: once written for a reader, here read by a compiler."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn
from torch.fx import Graph, GraphModule, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer

from scratchopt.engine.update import Numbers

IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


class Program(NamedTuple):
    """A rule in two parts: arithmetic of its numbers, done in Python, and of its tensors.

    Left among the tensors, a factor such as √(1 − β₂ᵗ) would be computed anew for every element.

    Args:
        arithmetic: from all numbers, as `flatten_numbers` lists them, to the factors that tensors
            meet.
        tensors: placeholders of the tensors.
        factors: nodes that the arithmetic gives.
        operations: on tensors and factors, in order.
        changed: whether each of the tensors is changed in place.
    """

    arithmetic: Any
    tensors: list[Node]
    factors: list[Node]
    operations: list[Node]
    changed: list[bool]


def trace(apply: Callable[..., None], arity: int, numbers: Numbers) -> Program:
    """Runs a rule on stand-ins.

    Args:
        apply: takes tensors, and numbers by name.
        arity: how many tensors.
        numbers: such as it will be called with: numbers, and tuples of them.
    """
    whole = Graph()
    tracer = _Tracer(whole)
    tensors = [whole.placeholder(f"tensor{i}") for i in range(arity)]
    numeric = [whole.placeholder(f"number{i}") for i in range(len(flatten_numbers(numbers)))]
    proxies = iter([_Proxy(node, tracer) for node in numeric])
    stand_ins = {
        name: tuple(next(proxies) for _ in value) if isinstance(value, tuple) else next(proxies)
        for name, value in numbers.items()
    }
    apply(*(_Proxy(node, tracer) for node in tensors), **stand_ins)
    scalar, operations = set(numeric), []
    for node in whole.nodes:
        if node.op == "placeholder":
            continue
        if scalar.issuperset(node.all_input_nodes):
            scalar.add(node)
        else:
            operations.append(node)
    used = {n: None for node in operations for n in node.all_input_nodes if n in scalar}
    arithmetic = build_module(numeric, [n for n in whole.nodes if n in scalar], list(used))
    itself = {node: node for node in whole.nodes}
    changed = set()
    for node in operations:
        if is_in_place(node):
            itself[node] = itself[node.all_input_nodes[0]]
            changed.add(itself[node])
    flags = [node in changed for node in tensors]
    return Program(arithmetic.forward, tensors, list(used), operations, flags)


def is_in_place(node: Node) -> bool:
    """True if a node changes its first argument and is the result."""
    return node.target in IN_PLACE or str(node.target).endswith("_")


def flatten_numbers(numbers: Numbers) -> list[float]:
    """Lists all numbers, one after another."""
    several = [value if isinstance(value, tuple) else (value,) for value in numbers.values()]
    return [float(number) for value in several for number in value]


def build_module(inputs: list[Node], nodes: list[Node], outputs: list[Node]) -> GraphModule:
    """Builds a module that takes the inputs, runs the nodes in order and returns the outputs."""
    graph = Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        if node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return GraphModule(nn.Module(), graph)


class _Tracer(GraphAppendingTracer):
    def proxy(self, node: Node) -> Proxy:
        return _Proxy(node, self)


class _Proxy(Proxy):
    """fx's own takes `p -= d` for `p = p - d`, which would leave the tensor alone."""

    def _in_place(self, operation: Any, other: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    def __iadd__(self, other: Any) -> Proxy:
        return self._in_place(operator.iadd, other)

    def __isub__(self, other: Any) -> Proxy:
        return self._in_place(operator.isub, other)

    def __imul__(self, other: Any) -> Proxy:
        return self._in_place(operator.imul, other)

    def __itruediv__(self, other: Any) -> Proxy:
        return self._in_place(operator.itruediv, other)
