"""How accurate the graph still is, on data that calibration has not seen."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from icebreaker.reports import Accuracy as JudgedAccuracy
from icebreaker.reports import OutputDifference
from icebreaker_gui.panels.accuracy.curve import Curve
from icebreaker_gui.panels.accuracy.segments import quantizations
from icebreaker_gui.session.session import Session
from icebreaker_gui.style import formatting, theme
from icebreaker_gui.style.widgets import Table, breakable, label, set_look
from icebreaker_gui.style.wording import worded


class Accuracy(QWidget):
    """The finding and the outputs' figures beside the trade-off curve."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._finding = label()
        self._finding.setFont(theme.font(1.35, bold=True))
        self._words = label(look="muted", wrap=True, select=True)
        self._outputs = Table()
        self._outputs.setAccessibleName(self.tr("Accuracy"))
        self._outputs.setToolTip(self.tr("How far each output is from the original's"))
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.SMALL)
        for widget in (self._finding, self._words):
            column.addWidget(widget)
        column.addWidget(self._outputs, 1)
        self._curve = Curve()
        split = QSplitter(Qt.Orientation.Horizontal)
        split.addWidget(left)
        split.addWidget(self._curve)
        split.setSizes([560, 380])
        split.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, theme.SMALL, 0, 0)
        layout.addWidget(split)
        session.conversionChanged.connect(self._update)
        self._update()

    def _update(self) -> None:
        conversion = self._session.conversion
        segments = quantizations(conversion)
        if conversion is None or not segments:
            return
        accuracy = conversion.accuracy
        is_int8 = any(quantization.int8_layers for quantization in segments.values())
        done = self._session.converted_with
        is_random = done is not None and done.quantization.calibration == "random"
        self._finding.setText(self._finding_text(accuracy, is_int8, is_random))
        set_look(self._finding, "finding" if is_int8 and accuracy and not is_random else "muted")
        lines = [worded(quantization.message) for quantization in segments.values() if quantization.message]
        if is_int8 and is_random:
            lines.insert(0, self.tr("It was calibrated on random data: no figure here means anything."))
        if accuracy:
            lines.insert(0, self._facts(accuracy))
        self._words.setText(breakable("\n".join(dict.fromkeys(lines)), 60))
        self._show_outputs(accuracy.outputs if accuracy else {})
        longest = max(segments.values(), key=lambda quantization: len(quantization.curve))
        self._curve.show_points(longest.curve, longest.int8_layers > 0)

    def _finding_text(self, accuracy: JudgedAccuracy | None, is_int8: bool, is_random: bool) -> str:
        if not is_int8:
            return self.tr("Nothing runs in INT8")
        if accuracy is None or is_random:
            return self.tr("The accuracy is not known")
        if accuracy.top1_agreement is not None:
            same = round(accuracy.top1_agreement * accuracy.samples)
            return self.tr("{same} of {all} top-1 answers are the same").format(same=same, all=accuracy.samples)
        return self.tr("{share} error at the worst output").format(share=formatting.percent(accuracy.error))

    def _facts(self, accuracy: JudgedAccuracy) -> str:
        one, many = self.tr("on {n} held-back sample"), self.tr("on {n} held-back samples")
        facts = [formatting.count(accuracy.samples, one, many)]
        if accuracy.top5_agreement is not None:
            share = formatting.percent(accuracy.top5_agreement)
            facts.append(self.tr("{share} within the top 5").format(share=share))
        if accuracy.original is not None and accuracy.optimized is not None:
            facts.append(
                self.tr("right answers: {before} before, {after} after").format(
                    before=f"{100 * accuracy.original:.1f} %", after=f"{100 * accuracy.optimized:.1f} %"
                )
            )
        return " · ".join(facts)

    def _show_outputs(self, outputs: Mapping[str, OutputDifference]) -> None:
        self._outputs.setVisible(bool(outputs))
        tip = self.tr("{name}\nError: largest difference over the output's largest value")
        self._outputs.fill(
            [self.tr("Output"), self.tr("Error"), self.tr("Cosine"), "SQNR", self.tr("Top-1")],
            [
                [
                    name,
                    formatting.scientific(difference.max_rel),
                    f"{difference.cosine:.5f}",
                    formatting.closeness(difference),
                    "–" if difference.top1_agreement is None else formatting.percent(difference.top1_agreement),
                ]
                for name, difference in outputs.items()
            ],
            [tip.format(name=name) for name in outputs],
        )
