"""The largest numbers that anybody may ask for; what is beyond is a slip of the pen."""

MAX_COUNT = 1_000_000
"""Largest count of anything; more costs hours."""
MAX_STEPS = 10_000
"""Most frames that a forecast reads or gives."""
MAX_SIDE_PX = 200_000
"""Longest side of a grid [px]."""
