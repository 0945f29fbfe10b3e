"""The Setup dock."""
