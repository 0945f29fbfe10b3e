"""What the library has to say to people, as values that each front end words in its own way.

A `Message` is an English template with its values apart, a code that programs may ask for, the thing it is about, and
a remedy, which is a code too. `str(message)` gives one line of plain English. The terminal names its flags in the remedies
(`cli.wording`), the app translates templates and remedies (`icebreaker_gui.style.wording`). Nothing is decided by
reading a text: whoever needs to know what happened asks for `code`, `subject`, `remedy` or `values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# What helps, in words for somebody who calls the library from Python. Templates: a message's values fill them.
REMEDIES: Mapping[str, str] = {
    # settings, requests
    "choose_from": "choose {choices}",
    "choose_range": "choose {low} to {high}",
    "give_bytes": "give bytes, or a size such as 4GB",
    "write_capability": "write it like 8.9",
    "give_at_least_8": "give at least 8",
    "give_share": "give a share, such as 0.01",
    "at_least_1": "it must be at least 1",
    "at_least_1_second": "give at least 1 second",
    "give_one_of_them": "give one of them",
    "smallest_usual_largest": "smallest, usual, largest",
    "write_shapes": "write the smallest, the usual and the largest, such as 1x64x64x3,4x224x224x3,8x512x512x3",
    "write_profile": "write NAME=MIN,USUAL,MAX",
    "write_size": "write bytes or a number with KB, MB, GB, KiB, MiB or GiB",
    # formats, graph, storage, tf, partitioning
    "export_again": "export it again",
    "choose_another_folder": "choose another folder or free some space",
    # engines, export, runtime, conversion
    # quantization, data, metrics
    "allow_python": "allow that first",
    "both_at_least_1": "both must be at least 1",
    "choose_layout": "choose RGB, BGR or L in NHWC or NCHW",
    "choose_crop": "choose center or stretch",
    "take_samples": "take at least {least}",
    "give_samples": "give at least {least}, better {good}",
    "give_data_files": "give a folder of images, an .npz, .npy, .tfrecord or .py file",
    "give_data_kinds": "give a folder of images, an .npz, .npy, .tfrecord or .py",
    "give_npz": "give an .npz",
    "give_calibration_data": "give calibration data",
    "clean_data": "clean the data",
    "remove_it": "remove it",
    "copy_again": "copy it again",
    "write_again": "write it again",
    "write_examples": "write it with tf.train.Example",
    "save_numbers": "save plain numbers",
    "save_with_savez": "save it with numpy.savez",
    "save_file_with_savez": "save the file with numpy.savez",
    "define_batches": "define one that yields input name → array",
    "give_values": "give a file of values or a shape ({reason})",
    "give_file_of_values": "give a file of values",
    "give_smaller_shape": "give it a smaller shape, or a smaller batch",
    "its_inputs_are": "its inputs are {known}",
    "give_one_sample": "give at least one sample",
    "give_more_samples": "give more samples",
    "give_table": "give the table of a calibration",
    "calibrate_again": "calibrate again",
    "calibrate_graph_again": "calibrate this graph again",
    "run_calibration_graph": "run the calibration graph again",
    "check_preprocessing": "check the data's preprocessing",
    "give_disagreement_or_error": "give a disagreement or an error, such as 0.01",
    "give_share_such_as_tenth": "give a share such as 0.1",
    "give_budget_as_error": "give the accuracy budget as an error instead",
    "choose_float": "choose fp16 or fp32{doubt}",
    "give_both_or_neither": "give both, or leave it out",
    "install_nncf": "pip install 'icebreaker[nncf]', or leave it out",
    "give_data_to_judge": "give calibration data, or data for the inputs with the table",
    "give_calibration": (
        "give a folder of images, an .npz, or random (for speed only), or the table of an earlier calibration"
    ),
    # jobs, cli, api
}


_MOST_CHARACTERS = 2000


@dataclass(frozen=True)
class Message:
    """One thing to tell a person: what happened, to what, and what helps.

    Attributes:
        code: Stable name of the kind of message, such as `output_unknown`; unique within the library.
        text: English template in the syntax of `str.format`, without the remedy; fields are names of `values`, or
            `subject`. It comes from the library's source, never from data.
        subject: Name of the node, file, input, engine or setting that it is about; empty if there is none.
        remedy: Key of `REMEDIES`, or empty.
        values: What fills the templates: names, counts, measures with their unit in the template, other messages.
    """

    code: str
    text: str
    subject: str = ""
    remedy: str = ""
    values: Mapping[str, str | int | float | Message | tuple[str | int | float | Message, ...]] = field(
        default_factory=dict
    )

    def __str__(self) -> str:
        return self.worded()

    def worded(
        self, remedies: Mapping[str, str] = REMEDIES, translate: Callable[[str], str] = lambda text: text
    ) -> str:
        """The message on one line, with its remedy after a colon.

        Args:
            remedies: Remedy code → template, in the words of who asks; what is not in it is looked up in `REMEDIES`.
            translate: Gives the template to use in place of an English one.
        """
        values = {name: _plain(value, remedies, translate) for name, value in self.values.items()}
        values["subject"] = self.subject
        words = translate(self.text).format_map(values)
        if self.remedy:
            help_ = remedies.get(self.remedy) or REMEDIES[self.remedy]
            words = f"{words}: {translate(help_).format_map(values)}"
        return one_line(words)


def one_line(text: str) -> str:
    """A text without line breaks, whatever it quotes; of a very long one, both ends."""
    line = " ".join(text.split())
    if len(line) > _MOST_CHARACTERS:
        line = f"{line[: _MOST_CHARACTERS // 2]} … {line[-_MOST_CHARACTERS // 2 :]}"
    return line


def message(
    code: str,
    text: str,
    remedy: str = "",
    *,
    subject: object = "",
    **values: str | int | float | Message | tuple[str | int | float | Message, ...],
) -> Message:
    """Makes a `Message`; see there for what each part means.

    Raises:
        KeyError: The remedy is not in `REMEDIES`, or a template names a value that is missing. Both are bugs.
    """
    made = Message(code, text, str(subject), remedy, values)
    made.worded()
    return made


def _plain(value: object, remedies: Mapping[str, str], translate: Callable[[str], str]) -> object:
    match value:
        case Message():
            return value.worded(remedies, translate)
        case tuple() | list():
            return ", ".join(str(_plain(item, remedies, translate)) for item in value)
        case _:
            return value
