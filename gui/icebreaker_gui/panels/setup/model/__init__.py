"""What is converted: the file, its inputs and outputs, and what the user has decided about single nodes."""
