"""What INT8 is calibrated on, what the network will see of it, and what accuracy it may cost."""
