"""How the terminal words what helps: remedies that an option of the command line is, by their code."""

from __future__ import annotations

from collections.abc import Mapping

from icebreaker.messages import Message, printable

REMEDIES: Mapping[str, str] = {
    "allow_python": "allow that first (--allow-python)",
    "give_values": "give --data FILE.npz or a shape ({reason})",
    "give_file_of_values": "give --data",
    "give_data_to_judge": "give calibration data, or --data with the table",
    "give_calibration": "give --calibration with a folder of images, an .npz, or random (for speed only), or "
    "--calibration-table with the ranges of an earlier calibration",
    "retry_crashed": "--retry-crashed tries it again",
    "convert_here_or_trust": "convert the graph here, or, if you trust where it comes from, load it with trust=True "
    "(--trust-engines)",
    "convert_here_or_compatible": "convert again here, or there with --hardware-compatibility same-compute-capability",
    "name_an_output": "name one with --outputs",
    "name_input_too": "add it to --inputs",
    "give_judging_data": "give --data, or calibration data, to do that",
    "allow_side_effects": "if you trust where it comes from, allow it with --allow-side-effects",
    "one_engine_or_more_time": "choose one engine in place of auto, or allow it more with --time-limit",
    "other_engine_or_more_patience": "choose another engine or exclude these nodes, or give it more --patience",
    "other_engine_or_more_memory": "choose another engine or a smaller batch, or allow it more with --memory-limit",
    "choose_signature": "choose the one that shall be frozen as it is with --signature",
    "another_output_folder": "choose another --output-dir",
}


def worded(message: Message | str) -> str:
    """One line for the terminal."""
    return printable(message) if isinstance(message, str) else message.worded(REMEDIES)
