"""Converters of decoders: what is read off a network's scores for each step of a sequence."""

from __future__ import annotations

from onnx import TensorProto

from icebreaker.export.ops.writer import Handlers, Writer

HANDLERS = Handlers()


@HANDLERS.of("CTCGreedyDecoder")
def _ctc_greedy_decoder(to: Writer) -> None:
    """The best label of each step without repetitions and blanks; there may be none at all, as on an empty picture.

    One place more than there is goes along until the end: engines fail, or worse, where they look up nothing.
    """
    scores, lengths = to.inputs
    whole, dtype = TensorProto.INT64, to.dtypes[0]
    time, batch, classes = to.add("Split", [to.add("Shape", [scores])], count=3, num_outputs=3, axis=0)
    steps = to.add("Range", [to.whole(0), to.add("Squeeze", [time, to.whole([0])]), to.whole(1)])
    length = to.add("Unsqueeze", [to.cast(lengths, whole), to.whole([0])])
    counts = to.add("Less", [to.add("Unsqueeze", [steps, to.whole([1])]), length])  # time, batch
    best = to.add("ArgMax", [scores], axis=2, keepdims=0)
    blank = int(to.attribute("blank_index", -1))
    last = to.add("Add", [classes, to.whole([blank])]) if blank < 0 else to.whole([blank])
    kept = to.add("And", [counts, to.add("Not", [to.add("Equal", [best, last])])])
    if to.attribute("merge_repeated", 0):
        none = to.add("Expand", [to.whole([[-1]]), to.add("Concat", [to.whole([1]), batch], axis=0)])
        earlier = to.add("Slice", [best, to.whole([0]), to.whole([-1]), to.whole([0])])
        before = to.add("Concat", [none, earlier], axis=0)
        kept = to.add("And", [kept, to.add("Not", [to.add("Equal", [before, best])])])
    kept, labels = (to.add("Transpose", [item], perm=[1, 0]) for item in (kept, best))
    ones = to.cast(kept, whole)
    column = to.add("CumSum", [ones, to.whole(1)], exclusive=1)
    found = to.add("Transpose", [to.add("NonZero", [kept])], perm=[1, 0])
    places = to.add("Concat", [to.whole([[0, 0]]), found], axis=0)

    def real(tensor: str) -> str:
        return to.add("Slice", [tensor, to.whole([1]), to.whole([2**31 - 1]), to.whole([0])])

    row = to.add("Slice", [places, to.whole([0]), to.whole([1]), to.whole([1])])
    columns = to.add("Unsqueeze", [to.add("GatherND", [column, places]), to.whole([1])])
    totals = to.add("ReduceSum", [ones, to.whole([1])], keepdims=0)
    longest = to.add("ReduceMax", [to.add("Concat", [to.whole([0]), totals], axis=0), to.whole([0])], keepdims=1)
    highest = to.add("ReduceMax", [scores, to.whole([2])], keepdims=0)
    sure = to.add("Where", [counts, highest, to.constant(0, dtype)])
    to.end("Identity", [real(to.add("Concat", [row, columns], axis=1))])
    to.end("Identity", [real(to.add("GatherND", [labels, places]))], 1)
    to.end("Concat", [batch, longest], 2, axis=0)
    sums = to.add("ReduceSum", [sure, to.whole([0])], keepdims=0)
    to.end("Neg", [to.add("Unsqueeze", [sums, to.whole([1])])], 3)
