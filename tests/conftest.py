"""What all tests share."""

from hypothesis import settings

# Machines that run tests are busy: a slow example is not a wrong one.
settings.register_profile("cubecast", deadline=None)
settings.load_profile("cubecast")
