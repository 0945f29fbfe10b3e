"""What engines make of numbers: values beyond them, NaNs that they lose, and what half precision must not round."""
