"""What the library has to say to people, as values that each front end words in its own way.

A `Message` is an English template with its values apart, a code that programs may ask for, the thing it is about, and
a remedy, which is a code too. `str(message)` gives one line of plain English. The terminal names its flags in the
remedies (`cli.wording`), the app translates templates and remedies (`icebreaker_gui.style.wording`). Nothing is decided
by reading a text: whoever needs to know what happened asks for `code`, `subject`, `remedy` or `values`.
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
    "allow_side_effects": "if you trust where it comes from, allow its side effects",
    "choose_another_folder": "choose another folder or free some space",
    # engines, export, runtime, conversion
    "retry_crashed": "it can be tried again",
    # quantization, data, metrics
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
    "another_output_folder": "choose another folder",
    "write_whole_numbers": "write whole numbers, such as 1x224x224x3",
    "write_width_height": "write width and height, such as 224x224",
    # the app
    "another_place": "choose another place",
    "sizes_with_commas": "write sizes with commas, such as 1, 224, 224, 3",
    "use_chart_suffix": "use .png, .svg or .csv",
    "give_preprocessing": "give RGB, BGR or L, mean=, std=, crop= or layout=",
}


_MOST_CHARACTERS = 2000


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
        text = translate(self.text)
        if self.remedy:
            template = remedies.get(self.remedy) or REMEDIES[self.remedy]
            values["remedy"] = translate(template).format_map(values)
            if "{remedy}" not in text:
                text += ": {remedy}"
        return one_line(text.format_map(values))


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
