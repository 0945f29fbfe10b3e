"""What the library has to say to people, as values that each front end words in its own way.

A `Message` is an English template with its values apart, a code that programs may ask for, the thing it is about, and
a remedy, which is a code too. `str(message)` gives one line of plain English. The terminal names its flags in the
remedies (`cli.wording`), the app translates templates and remedies (`icebreaker_gui.style.wording`). Nothing is decided
by reading a text: whoever needs to know what happened asks for `code`, `subject`, `remedy` or `values`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Union, cast

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
    "write_fixed_input": "write NAME=VALUE, such as keras_learning_phase=0",
    "write_profile": "write NAME=MIN,USUAL,MAX",
    "write_size": "write bytes or a number with KB, MB, GB, KiB, MiB or GiB",
    # formats, graph, storage, tf, partitioning
    "export_again": "export it again",
    "open_graph_again": "open the graph again",
    "export_graph_again": "export the graph again",
    "export_whole_again": "export the whole graph again",
    "export_with_nodes": "export it again, with its nodes",
    "export_a_part": "export a part of it",
    "export_inlined": "export the graph with its functions inlined",
    "export_or_copy_again": "export or copy it again",
    "export_part_or_saved_model": (
        "export a part of it, or, of a Keras file, a SavedModel without loops (model.export)"
    ),
    "export_signature_without": "export a signature without it",
    "damaged_export_again": "the file is damaged, export it again",
    "made_to_fill_memory": "it is damaged, or was made to fill the memory",
    "not_what_it_seems": "it is not what it seems",
    "did_you_mean": "did you mean {near}?",
    "check_path": "check the path",
    "give_tensorflows_form": "give the TensorFlow model that it was made from",
    "copy_again": "copy it again",
    "copy_weights_along": "copy the folder {folder} along, beside the graph",
    "copy_weights_again": "copy the folder {folder} again",
    "convert_graph_again": "convert the graph again",
    "set_tmpdir": "free some space, or set TMPDIR to a folder that has it",
    "choose_another_folder": "choose another folder or free some space",
    "name_file_to_write": "give the name of a file to write",
    "name_folder_to_write": "give the name of a new folder",
    "give_shorter_name": "give a shorter name",
    "remove_link": "remove the link, or give another name",
    "copy_file_itself": "copy the file itself there",
    "give_graph_or_saved_model": "give a graph's file, or a SavedModel's folder",
    "give_frozen_graph": "give a frozen graph",
    "give_frozen_or_saved_model": "give a frozen graph or a SavedModel",
    "give_saved_model": "give the SavedModel instead",
    "freeze_or_saved_model": "freeze it, or give its SavedModel",
    "save_binary": "save the graph in binary form",
    "save_whole_model_again": "save the whole model again",
    "save_with_signatures": "save it again with signatures=…",
    "give_value_of_type": "give one {dtype}, or, for {shape}, as many with commas",
    "leave_signature_out": "leave it out",
    "choose_signature": "choose the signature that shall be frozen as it is",
    "fetch_lfs": "fetch the graph with git lfs pull",
    "export_saved_model_yourself": (
        "models with Lambda layers or custom objects are refused; export a SavedModel of it yourself"
    ),
    "refused_export_saved_model": (
        "it is refused, as Lambda layers and custom objects are; export a SavedModel of it yourself"
    ),
    "allow_side_effects": "if you trust where it comes from, allow its side effects",
    "write_tensor_name": "write NODE or NODE:PORT, such as logits or split:1",
    "choose_sample": "choose {samples}",
    "install_icebreaker_again": "install Icebreaker again",
    "measure_on_quiet_machine": "measure again when nothing else runs, to be sure",
    "convert_on_quiet_machine": "convert again when nothing else runs, to be sure",
    "install_nvml": "pip install nvidia-ml-py",
    "end_other_programs": "end other programs on it, or choose a smaller batch",
    "raise_memory_fraction": "raise the memory fraction to {better:.2f}, or choose a smaller batch",
    "lower_memory_fraction": "lower the memory fraction to {better:.2f}, or choose a smaller batch",
    "set_memory_fraction": "set the memory fraction, such as to {better:.2f}, or choose a smaller batch",
    "make_one_smaller": "make one of them smaller",
    # engines, export, runtime, conversion
    "retry_crashed": "it can be tried again",
    "make_folder": "make the folder first, or choose another",
    "another_folder": "choose another folder",
    "name_an_output": "name one",
    "name_input_too": "name it too",
    "leave_out_batch": "with a profile, leave that out",
    "choose_int8_or_leave_out": "choose int8, or leave it out",
    "convert_its_original": "convert the graph that it was made from",
    "install_an_engine": "install openvino or onnxruntime",
    "convert_again": "convert the graph again",
    "convert_again_here": "convert again here",
    "convert_here_or_compatible": "convert again here, or there with hardware compatibility same-compute-capability",
    "convert_original_here": "convert the original graph here",
    "update_driver": "update the driver, or convert again here",
    "install_with": "{command}",
    "use_rtx": "use tensorrt-rtx here",
    "give_smallest_largest": "give its smallest and largest shape",
    "larger_batch_or_shape": "convert with a larger batch, or with this shape",
    "exclude_its_node": "exclude the node that makes it",
    "give_positive_number": "give a positive number",
    "give_a_value_each": "give at least one value for each input",
    "copy_along": "copy it along",
    "fewer_outputs": "convert fewer or smaller outputs",
    "fewer_outputs_or_graph": "convert fewer or smaller outputs, or write a graph, whose weights may lie beside it",
    "convert_here_or_trust": "convert the graph here, or, if you trust where it comes from, load it with trust=True",
    "add_first_dimension": "add its first dimension, as value[None] does for an array",
    "give_its_shape": "give it that shape",
    "give_its_type": "give numbers or texts of that type, in an array or in lists of equal length",
    "convert_with_that_batch": "convert with that batch",
    "free_some_or_tmpdir": "free some, or set TMPDIR",
    "give_judging_data": "give sample data, or calibration data, to do that",
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
    # TF-TRT's old calls
    "use_save_for_graph": "use save() for a graph",
    "name_the_tensors": "name the tensors that the graph is for",
    "create_as_int8": "create it with precision_mode='INT8'",
    "create_again": "create it again",
    "create_and_run_again": "create the calibration graph again, and run it",
    "run_on_real_data": "run it in a session on real data, and then convert it",
    "make_another_converter": "make another converter",
    "choose_precision_mode": "choose FP32, FP16 or INT8",
    "give_calibration_fn": "give one that yields inputs",
    "give_saved_model_folder": "give a SavedModel's folder",
    # jobs, cli, api
    "close_programs_or_smaller_batch": "close other programs, or choose a smaller batch",
    "one_engine_or_more_time": "choose one engine in place of auto, or allow it more time",
    "other_engine_or_more_patience": "choose another engine or exclude these nodes, or allow it a longer silence",
    "other_engine_or_more_memory": "choose another engine or a smaller batch, or allow it more memory",
    "other_engine_or_smaller_batch": "choose another engine or a smaller batch",
    "killed_from_outside": "it was killed from outside: close other programs if memory is short, and try again",
    "native_crash": "a native library crashed: choose another engine or exclude the node named last in the log",
    "native_abort": "a native library gave up: choose another engine, and see the log for its words",
    "see_log_try_again": "see the log, and try again",
    "last_words": "{words}",
    "raise_address_space": "raise that limit (ulimit -v), which a graph of any size needs",
    "another_output_folder": "choose another folder",
    "write_whole_numbers": "write whole numbers, such as 1x224x224x3",
    "write_width_height": "write width and height, such as 224x224",
    # the app
    "another_place": "choose another place",
    "sizes_with_commas": "write sizes with commas, such as 1, 224, 224, 3",
    "use_chart_suffix": "use .png, .svg or .csv",
    "give_preprocessing": "give RGB, BGR or L, mean=, std=, crop= or layout=",
    # the app's pictures of graphs
    "end_as_picture": "end it in .png, .svg or .pdf",
}


# What fills a template: a tuple is written with commas.
Value = Union[str, int, float, "Message", tuple[Union[str, int, float, "Message"], ...]]
_MOST_CHARACTERS = 2000
_COMMANDING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Message:
    """One thing to tell a person: what happened, to what, and what helps.

    Attributes:
        code: Stable name of the kind of message, such as `output_unknown`; unique within the library.
        text: English template in the syntax of `str.format`; fields are names of `values`, `subject`, and `remedy`,
            which comes last, after a colon, where the text does not name it. From the library's source, never data.
        subject: Name of the node, file, input, engine or setting that it is about; empty if there is none.
        remedy: Key of `REMEDIES`, or empty.
        values: What fills the templates: names, counts, measures with their unit in the template, other messages.
    """

    code: str
    text: str
    subject: str = ""
    remedy: str = ""
    values: Mapping[str, Value] = field(default_factory=dict[str, "Value"])

    def __post_init__(self) -> None:
        """Checks that the templates and the values fit each other.

        Raises:
            ValueError: They do not, or the remedy is not in `REMEDIES`: a bug, or a damaged message from elsewhere.
        """
        try:
            self.worded()
        except (KeyError, IndexError, AttributeError, TypeError, ValueError, MemoryError) as error:
            raise ValueError(f"the message {self.code!r} cannot be worded: {error!r}") from error

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
        text = translate(self.text)
        if self.remedy:
            template = remedies.get(self.remedy) or REMEDIES[self.remedy]
            values["remedy"] = translate(template).format_map(values)
            if "{remedy}" not in text:
                text += ": {remedy}"
        return one_line(text.format_map(values))


def one_line(text: str) -> str:
    """A text without line breaks, whatever it quotes, and `printable`; of a very long one, both ends."""
    line = printable(" ".join(text.split()))
    if len(line) > _MOST_CHARACTERS:
        line = f"{line[: _MOST_CHARACTERS // 2]} … {line[-_MOST_CHARACTERS // 2 :]}"
    return line


def printable(text: str) -> str:
    r"""A text with control characters, and those that turn its direction, spelled out: `\x1b`, `\u202e`.

    A name out of a file may hold them: a terminal obeys the former, and with the latter letters seem to be elsewhere.
    """
    return _COMMANDING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def message(
    code: str,
    text: str,
    remedy: str = "",
    *,
    subject: object = "",
    **values: Value,
) -> Message:
    """Makes a `Message`; see there for what each part means.

    Raises:
        ValueError: The remedy is not in `REMEDIES`, or a template names a value that is missing. Both are bugs.
    """
    return Message(code, text, str(subject), remedy, values)


def _plain(value: object, remedies: Mapping[str, str], translate: Callable[[str], str]) -> object:
    if isinstance(value, Message):
        return value.worded(remedies, translate)
    if isinstance(value, tuple | list):
        return ", ".join(str(_plain(part, remedies, translate)) for part in cast("Sequence[object]", value))
    return value
