"""Where things lie: the checkout, its samples, the data beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "resources" / "samples"
DIGITS = SAMPLES / "digits.pb"
SHARED = ROOT.parent / "shared"
GRAPHS = SHARED / "graphs"
MODELS = SHARED / "models"
