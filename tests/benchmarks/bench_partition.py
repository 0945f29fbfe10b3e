"""Times the partition of synthetic graphs of 10,000 nodes; prints medians of processor seconds.

`random`: every node reads two nodes from anywhere before it, the hardest case. `near`: two of the 50 nodes before it.
`blocks`: residual blocks with weights, as in a real network. The promise is under 1 s with 2 % of the nodes refused and
under 3 s with 10 %.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from icebreaker.graph.graph import Graph
from icebreaker.graph.protos import GraphDef
from icebreaker.partitioning.partition import Refusal, partition
from icebreaker.tensors import Tensor

NO = Refusal("unsupported_op", "no converter for this op")


def scattered(count: int, window: int, rng: random.Random) -> Graph:
    """Nodes that read two of the `window` nodes before them."""
    definition = GraphDef()
    definition.node.add(name="n0", op="Placeholder")
    for index in range(1, count):
        node = definition.node.add(name=f"n{index}", op="Add")
        node.input.extend(f"n{rng.randrange(max(0, index - window), index)}" for _ in range(2))
    return Graph(definition)


def blocks(count: int) -> Graph:
    """Residual blocks: two convolutions with bias and activation, added to what came in."""
    definition = GraphDef()
    definition.node.add(name="x", op="Placeholder")
    entry = "x"
    for block in range(count // 13):
        value = entry
        for layer in range(2):
            name = f"block{block}/conv{layer}"
            for constant in ("weights", "bias"):
                definition.node.add(name=f"{name}/{constant}", op="Const")
            definition.node.add(name=name, op="Conv2D").input.extend((value, f"{name}/weights"))
            definition.node.add(name=f"{name}/bias_add", op="BiasAdd").input.extend((name, f"{name}/bias"))
            definition.node.add(name=f"{name}/relu", op="Relu").input.append(f"{name}/bias_add")
            value = f"{name}/relu"
        definition.node.add(name=f"block{block}/add", op="AddV2").input.extend((entry, value))
        definition.node.add(name=f"block{block}/out", op="Identity").input.append(f"block{block}/add")
        definition.node.add(name=f"block{block}/next", op="Relu").input.append(f"block{block}/out")
        entry = f"block{block}/next"
    return Graph(definition)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(0)
    graphs = {
        "random": scattered(options.nodes, options.nodes, rng),
        "near": scattered(options.nodes, 50, rng),
        "blocks": blocks(options.nodes),
    }
    print(f"{'graph':8} {'refused':>8} {'seconds':>8} {'segments':>9} {'ops inside':>11}")
    for name, graph in graphs.items():
        outputs = [Tensor.parse(item) for item in graph.candidate_outputs]
        for share in (0.0, 0.02, 0.10, 0.30):
            refusals = {node.name: NO for node in graph if node.op != "Const" and rng.random() < share}
            found = partition(graph, outputs, refusals)
            times = []
            for _ in range(options.runs):
                begun = time.process_time()
                partition(graph, outputs, refusals)
                times.append(time.process_time() - begun)
            inside = sum(segment.size for segment in found.segments)
            print(f"{name:8} {share:8.0%} {statistics.median(times):8.2f} {len(found.segments):9} {inside:11}")


if __name__ == "__main__":
    main()
