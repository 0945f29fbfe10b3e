"""The app's one visual language."""
