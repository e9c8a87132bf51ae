"""The command line: one file per command, none of which imports anything slow before it is needed."""
