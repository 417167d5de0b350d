"""A controller whose cable to the host is in our hands."""
