"""Data at rest: grids, archives, cubes, published issues, COGs, catalog, model bundles."""

from stores.gdal import limit_cache

limit_cache()
