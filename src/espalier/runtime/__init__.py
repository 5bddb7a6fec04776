"""Compile the generated C and run it: numpy arrays in, numpy arrays out."""
