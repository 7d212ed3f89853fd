"""The command: from options to the report."""
