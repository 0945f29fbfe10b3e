"""The window that says what the app is."""

from __future__ import annotations

from importlib.metadata import version

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon, QPixmap
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QHBoxLayout, QVBoxLayout, QWidget

from icebreaker_gui.style import theme
from icebreaker_gui.style.widgets import label


class About(QDialog):
    """Name, version, licence."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("About Icebreaker"))
        picture = label()
        picture.setPixmap(QPixmap(QIcon(str(theme.APP_ICON)).pixmap(QSize(64, 64))))
        title = label("Icebreaker")
        title.setFont(theme.font(1.6, bold=True))
        words = label(
            self.tr(
                "Version {version}. Makes frozen TensorFlow graphs run faster, and shows why.\n"
                "Apache License 2.0. TensorFlow, OpenVINO, ONNX Runtime and TensorRT are their owners' marks."
            ).format(version=version("icebreaker")),
            "muted",
            wrap=True,
        )
        words.setMinimumWidth(340)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        close.rejected.connect(self.close)
        right = QVBoxLayout()
        right.addWidget(title)
        right.addWidget(words)
        row = QHBoxLayout()
        row.setSpacing(theme.LARGE)
        row.addWidget(picture, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(right)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(theme.HUGE, theme.HUGE, theme.HUGE, theme.LARGE)
        layout.addLayout(row)
        layout.addWidget(close)
