"""The scores before a graph's last softmax or sigmoid: behind it, gradients vanish a little way from the boundary."""

from veriward.adapters.onnx_graph.graph import Graph, Port
from veriward.adapters.onnx_graph.module import GraphModule, read_module
from veriward.adapters.onnx_graph.operator import Node


def logits(graph: Graph, port: Port, output: Port) -> tuple[GraphModule, str] | None:
    """Return the module that ends before the last activation, and what that is called; None where there is none.

    Softmax counts over the classes of a matrix, sigmoid of a single score: elsewhere the decision is not that of logits.
    """
    node = next((node for node in graph.nodes if output.name in node.outputs), None)
    shape = output.shape or ()
    if node is None or len(shape) != 2 or not _is_last(node, shape[1]):
        return None
    return read_module(graph, port, node.inputs[0]), node.op.lower()


def _is_last(node: Node, width: int | None) -> bool:
    if node.op == "Sigmoid":
        return width == 1
    # over columns: before opset 13 an axis of 1 means all that follows, which in a matrix is the same
    return node.op == "Softmax" and node.get("axis", -1 if node.version >= 13 else 1) in (-1, 1) and width != 1
