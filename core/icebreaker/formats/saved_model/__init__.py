"""SavedModels: read from their messages and checkpoints, without TensorFlow's loader, which runs what is in them."""
