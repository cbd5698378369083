"""The checks of `testing.check_transport`, one idea per module; none of them is meant to be called alone."""
