"""Studies: many runs from one file, through any number of interruptions."""
