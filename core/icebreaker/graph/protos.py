"""TensorFlow's messages without TensorFlow: the tensorboard package carries the same protocol buffers.

Gathered here because type checkers cannot see the classes that protobuf makes as it is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

    class _Generated(Message):
        """A class that protobuf generated: its fields are not known before it runs."""

        def __getattr__(self, name: str) -> Any: ...

    class AttrValue(_Generated):
        """TensorFlow's message of that name."""

    class Event(_Generated):
        """TensorFlow's message of that name."""

    class GraphDef(_Generated):
        """TensorFlow's message of that name."""

    class NodeDef(_Generated):
        """TensorFlow's message of that name."""

    class TensorProto(_Generated):
        """TensorFlow's message of that name."""

    class VariableDef(_Generated):
        """TensorFlow's message of that name."""

else:
    from tensorboard.compat.proto.attr_value_pb2 import AttrValue
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.variable_pb2 import VariableDef

__all__ = ["AttrValue", "Event", "GraphDef", "NodeDef", "TensorProto", "VariableDef"]
