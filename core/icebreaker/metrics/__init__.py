"""How results differ and how long calls take."""
