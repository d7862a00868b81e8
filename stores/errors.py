"""The few errors a caller may want to catch, each also a built-in type."""


class StoreError(Exception):
    """Base of what goes wrong with data at rest."""


class ArchiveError(StoreError, ValueError):
    """An archive of rasters does not hold what the recipe says it holds."""


class GridError(StoreError, ValueError):
    """Two grids that had to be the same are not."""


class CorruptError(StoreError, ValueError):
    """Bytes at rest are missing, altered or cut short."""


class DiskFullError(StoreError, OSError):
    """What is to be written does not fit on its disk."""


class LeaseHeldError(StoreError, RuntimeError):
    """Somebody else holds the lease that is needed."""


class FencedError(StoreError, RuntimeError):
    """A younger holder of the lease has taken over; this one may not publish."""
