"""The command line: one file a command; the only place of the package that prints."""
