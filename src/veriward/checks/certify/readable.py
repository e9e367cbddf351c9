"""Which models can be read: networks of known operators, and trees whose inputs are the subject's columns."""

import torch
from torch import Tensor

from veriward.adapters.opened import Opened
from veriward.checks.certify.columns import View, view_of
from veriward.checks.certify.graph import Graph, Unreadable
from veriward.checks.certify.trace import read
from veriward.core.note import Note, note

ROWS = 3  # of the example: a size that layers seldom have, so that the axis of rows is not mistaken for another


def unreadable(opened: Opened) -> Note | None:
    """Return why nothing can be proved of a model, or None."""
    if opened.network is None:
        return None if forest_of(opened) is not None else note("certify.no_network", format=opened.format)
    try:
        network_of(opened)
    except Unreadable as error:
        return note("certify.unsupported", what=str(error))
    return None


def forest_of(opened: Opened) -> View | None:
    """Return the trees of a model whose sums decide between the subject's classes."""
    view = view_of(opened)
    return view if view is not None and len(opened.classes) == max(2, view.forest.outputs) else None


def network_of(opened: Opened) -> Graph:
    """Return the network of a model; Unreadable names what is not understood."""
    module = opened.network
    assert module is not None
    graph = read(module, _example(opened))
    outputs, classes = graph.ops[-1].shape[0], len(opened.classes)
    if outputs != classes and (outputs, classes) != (1, 2):
        raise Unreadable(f"{outputs} scores for {classes} classes")
    if outputs == 1 and (graph.taken_off == "sigmoid") != (opened.output == "probabilities"):
        raise Unreadable(f"one score that is {graph.taken_off or 'no sigmoid'}, read as {opened.output}")
    return graph


def as_model(opened: Opened, z: Tensor) -> Tensor:
    """Return encoded rows as the module gets them."""
    backend = opened.model.backend
    return z.to(opened.device, getattr(backend, "dtype", torch.float32))


def _example(opened: Opened) -> Tensor:
    count = getattr(opened.model.backend, "static", None) or ROWS
    rows = opened.encoded("test", [i % len(opened.test) for i in range(count)])
    return as_model(opened, rows)
