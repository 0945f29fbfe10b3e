"""The app's state and what keeps it."""
