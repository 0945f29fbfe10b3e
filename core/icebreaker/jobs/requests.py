"""What may be asked of a worker: one value for each kind of job, with the type of its result.

A request says what is to be done; what the user has allowed (`Consent`) and what the worker may take (`Limits`) go with
it, apart from the settings, so that neither comes from a file by accident.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from icebreaker import reports
from icebreaker.settings import Consent, ConvertSettings, Limits


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", forbid_unknown_fields=True):
    """What every request has.

    Attributes:
        consent: What the user has allowed.
        limits: What the worker may take.
        result: Type of what the job gives.
    """

    consent: Consent = Consent()
    limits: Limits = Limits()
    result: ClassVar[Any] = None

    @property
    def name(self) -> str:
        """The job's name, such as `convert`."""
        return str(self.__struct_config__.tag)

    @property
    def written(self) -> str:
        """The file that the job writes; empty if it writes none."""
        return ""


class Inspect(Request, frozen=True, tag="inspect"):
    """What is in a graph; one that has to be frozen first is written to `frozen`, if that is given.

    Attributes:
        signature: Which signature of a SavedModel; empty: `serving_default`, or the first by name.
    """

    model: str
    frozen: str = ""
    signature: str = ""
    result: ClassVar[Any] = reports.Inspection

    @property
    def written(self) -> str:
        """The frozen graph."""
        return self.frozen


class AskEngines(Request, frozen=True, tag="engines"):
    """Which engines there are and what works here."""

    result: ClassVar[Any] = reports.Machine


class MakeSample(Request, frozen=True, tag="sample"):
    """Writes the sample model `sample` (a key of `sample_models.SAMPLES`) to `output`."""

    sample: str
    output: str
    result: ClassVar[Any] = reports.SampleFile

    @property
    def written(self) -> str:
        """The sample."""
        return self.output


class Convert(Request, frozen=True, tag="convert"):
    """Converts the graph in `model` and writes the optimized one to `output`.

    Attributes:
        model: The graph to convert.
        output: The file or folder to write.
        format: One of `settings.OUTPUT_FORMATS`; empty: as the name of `output` says (`settings.output_format`).
        settings: What the user chose.
    """

    model: str
    output: str
    format: str = ""
    settings: ConvertSettings = ConvertSettings()
    result: ClassVar[Any] = reports.Conversion

    @property
    def written(self) -> str:
        """The optimized graph."""
        return self.output


class WriteSavedModel(Request, frozen=True, tag="write-saved-model"):
    """Writes the graph in `optimized`, which a conversion of `model` made, as a SavedModel to the folder `output`.

    Attributes:
        model: The original: of a SavedModel, signatures, assets and variables come along.
        optimized: What the conversion made.
        output: The folder to write.
        settings: What it was converted with.
    """

    model: str
    optimized: str
    output: str
    settings: ConvertSettings = ConvertSettings()
    result: ClassVar[Any] = reports.SavedFolder

    @property
    def written(self) -> str:
        """The folder."""
        return self.output


class Calibrate(Request, frozen=True, tag="calibrate"):
    """Finds the ranges that INT8 needs and writes them to `output`."""

    model: str
    output: str
    settings: ConvertSettings = ConvertSettings()
    result: ClassVar[Any] = reports.Calibration

    @property
    def written(self) -> str:
        """The calibration table."""
        return self.output


class Benchmark(Request, frozen=True, tag="benchmark"):
    """Measures a graph, or the original and the optimized graph in turns.

    Attributes:
        model: The original graph.
        optimized: What a conversion made of it; empty: the original alone.
        batch: Rows of every input whose first dimension is open.
        seconds: How long to measure, warm-up excluded.
        settings: Outputs, inputs, their shapes, data and memory fraction are used.
        profile: Find out where the time goes, too.
    """

    model: str
    optimized: str = ""
    batch: int = 1
    seconds: float = 5.0
    settings: ConvertSettings = ConvertSettings()
    profile: bool = False
    result: ClassVar[Any] = reports.Benchmark


class Compare(Request, frozen=True, tag="compare"):
    """Compares what the original and the optimized graph answer; of the settings as in `Benchmark`."""

    model: str
    optimized: str
    settings: ConvertSettings = ConvertSettings()
    result: ClassVar[Any] = reports.Comparison


class Diff(Request, frozen=True, tag="diff"):
    """Says what is different in the graph `other`; if it has to be frozen, it is written to `frozen`, if given."""

    model: str
    other: str
    frozen: str = ""
    result: ClassVar[Any] = reports.GraphDiff

    @property
    def written(self) -> str:
        """The frozen graph."""
        return self.frozen
