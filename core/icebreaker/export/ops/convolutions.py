"""The converter of transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import TensorProto

from icebreaker.export.ops.writer import Handlers, Writer

HANDLERS = Handlers()


@HANDLERS.of("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def _transposed_convolution(to: Writer) -> None:
    """The whole of what the convolution gives; then zeros are added to its end, or its edges are cut off.

    Where all sizes are known, the edges are what ONNX calls pads.
    """
    count = to.rank(2) - 2
    is_last = to.attribute("data_format", b"NHWC") in (b"NHWC", b"NDHWC")
    first = 1 if is_last else 2  # axis
    strides, dilations = (list(to.attribute(name) or [1] * (count + 2)) for name in ("strides", "dilations"))
    picture, filters = to.inputs[2], to.add("Transpose", [to.inputs[1]], perm=[count + 1, count, *range(count)])
    if is_last:
        picture = to.add("Transpose", [picture], perm=[0, count + 1, *range(1, count + 1)])
    ends = slice(first, first + count)
    sides: dict[str, list[int]] = {"strides": strides[ends], "dilations": dilations[ends]}
    if pads := _pads(to, ends, sides):
        cut = to.add("ConvTranspose", [picture, filters], 1, pads=pads, **sides)
        _end(to, cut, count, is_last)
        return
    full = to.add("ConvTranspose", [picture, filters], 1, **sides)
    wanted = to.cast(to.inputs[0], TensorProto.INT64, to.dtypes[0])
    if to.shapes[0] != [count]:
        wanted = to.add("Slice", [wanted, to.whole([first]), to.whole([first + count])])
    missing = to.add("Sub", [wanted, to.add("Slice", [to.add("Shape", [full]), to.whole([2]), to.whole([2 + count])])])
    padding, nothing = to.attribute("padding"), to.whole([0] * count)
    if padding == b"SAME":
        begin = to.add("Div", [to.add("Max", [to.add("Neg", [missing]), nothing]), to.whole([2])])
    elif padding == b"EXPLICIT":
        begin = to.whole(to.attribute("explicit_paddings")[2 * first : 2 * (first + count) : 2])
    else:
        begin = nothing
    end = to.add("Add", [begin, wanted])
    edges = to.add("Concat", [to.whole([0] * (count + 4)), to.add("Max", [missing, nothing])], axis=0)
    longer = to.add("Pad", [full, edges])
    cut = to.add("Slice", [longer, begin, end, to.whole(list(range(2, 2 + count)))])
    _end(to, cut, count, is_last)


def _end(to: Writer, found: str, count: int, is_last: bool) -> None:
    if is_last:
        to.end("Transpose", [found], perm=[0, *range(2, count + 2), 1])
    else:
        to.end("Identity", [found])


def _pads(to: Writer, ends: slice, sides: Mapping[str, Sequence[int]]) -> list[int]:
    """What is cut off at the edges, first at all beginnings; nothing where that is not known, or zeros are added."""
    wanted, given, kernel = to.value(0), to.shapes[2], to.shapes[1]
    if wanted is None or given is None or kernel is None or -1 in given[ends] or -1 in kernel[:-2]:
        return []
    sizes = wanted[ends] if len(wanted) == len(given) else wanted
    total = [
        stride * (size - 1) + (taps - 1) * dilation + 1 - int(out)
        for stride, size, taps, dilation, out in zip(
            sides["strides"], given[ends], kernel[:-2], sides["dilations"], sizes, strict=True
        )
    ]
    padding = to.attribute("padding")
    if min(total) < 0 or padding == b"EXPLICIT":
        return []
    begin = [size // 2 if padding == b"SAME" else 0 for size in total]
    return [*begin, *(size - less for size, less in zip(total, begin, strict=True))]
