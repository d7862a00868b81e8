"""What all tests share."""

import os

from hypothesis import settings

# Networks of tests are too small to share: a second thread would only wait for the first.
# Set before torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines that run tests are busy: a slow example is not a wrong one.
settings.register_profile("cubecast", deadline=None)
settings.load_profile("cubecast")
