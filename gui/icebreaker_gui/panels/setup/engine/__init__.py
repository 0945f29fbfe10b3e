"""What it is converted to: the engine, the precision, and the options that only some engines have."""
