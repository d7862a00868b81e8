"""Units as UDUNITS writes them: parsed, written, and compared with CF standard names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pint import UnitRegistry
    from pint.facets.plain import PlainUnit

_EXPONENT = re.compile(r"(?<!\d[eE])(?<=[A-Za-z)])([-+]?\d+)(?![A-Za-z\d])")
_PRODUCT = re.compile(r"(?<=[A-Za-z\d])[.\u00b7](?=[A-Za-z])")
_NEAR = 5  # words that are compared in full
_WORD = re.compile(r"[A-Za-z_]+")
# m-2 and m2 are powers, but CO2 is a name and 1e-6 a number.
_POWER = re.compile(r"\b([A-Za-z]+)(-\d+)\b|\b([a-z]+)(\d+)\b")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# What CF and meteorology write, beside what the library knows.
_EXTRA_UNITS = (
    "degrees_north = degree = _ = degree_north = degree_N = degrees_N",
    "degrees_east = degree = _ = degree_east = degree_E = degrees_E",
    "dBZ = []",
    "psu = []",
    "gC = gram",
    "@alias degree_Celsius = Celsius = degrees_C = degree_C = deg_C",
    "@alias kelvin = Kelvin",
)
# The library composes these when it meets them, so it does not list them.
_PREFIXED = tuple(
    f"{prefix}{unit}"
    for prefixes, units in (
        (
            ("nano", "micro", "milli", "centi", "deci", "hecto", "kilo", "mega"),
            ("meter", "metre", "gram", "second", "liter", "litre", "mole", "pascal", "watt"),
        ),
        (("n", "u", "m", "c", "h", "k", "M"), ("m", "g", "s", "mol", "Pa", "J", "W", "Hz")),
    )
    for prefix, unit in product(prefixes, units)
)
# https://cfconventions.org/standard-names.html
_CANONICAL = {
    "air_pressure": "Pa",
    "air_pressure_at_mean_sea_level": "Pa",
    "air_temperature": "K",
    "air_temperature_anomaly": "K",
    "area_fraction": "1",
    "atmosphere_mass_content_of_water_vapor": "kg m-2",
    "cloud_area_fraction": "1",
    "dew_point_temperature": "K",
    "eastward_wind": "m s-1",
    "equivalent_reflectivity_factor": "dBZ",
    "geopotential": "m2 s-2",
    "geopotential_height": "m",
    "gross_primary_productivity_of_biomass_expressed_as_carbon": "kg m-2 s-1",
    "land_area_fraction": "1",
    "leaf_area_index": "1",
    "lwe_precipitation_rate": "m s-1",
    "lwe_thickness_of_precipitation_amount": "m",
    "lwe_thickness_of_surface_snow_amount": "m",
    "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air": "kg m-3",
    "mole_fraction_of_carbon_dioxide_in_air": "1",
    "normalized_difference_vegetation_index": "1",
    "northward_wind": "m s-1",
    "precipitation_amount": "kg m-2",
    "precipitation_flux": "kg m-2 s-1",
    "rainfall_amount": "kg m-2",
    "rainfall_flux": "kg m-2 s-1",
    "rainfall_rate": "m s-1",
    "relative_humidity": "1",
    "runoff_flux": "kg m-2 s-1",
    "sea_ice_area_fraction": "1",
    "sea_surface_height_above_sea_level": "m",
    "sea_surface_temperature": "K",
    "soil_moisture_content": "kg m-2",
    "soil_temperature": "K",
    "specific_humidity": "1",
    "surface_air_pressure": "Pa",
    "surface_albedo": "1",
    "surface_altitude": "m",
    "surface_downwelling_longwave_flux_in_air": "W m-2",
    "surface_downwelling_shortwave_flux_in_air": "W m-2",
    "surface_snow_area_fraction": "1",
    "surface_temperature": "K",
    "thickness_of_rainfall_amount": "m",
    "volume_fraction_of_condensed_water_in_soil": "1",
    "water_evapotranspiration_flux": "kg m-2 s-1",
    "wind_from_direction": "degree",
    "wind_speed": "m s-1",
}


def check_units(units: str) -> None:
    """Refuse units that no other program would understand.

    Raises:
        ValueError: names the word that is unknown, and the nearest that is known.
    """
    if units.strip() != "1":  # importing the library takes half a second
        _parse(units)


def find_mismatch(units: str, standard_name: str) -> str | None:
    """Describe how units do not fit a CF standard name; None where they do or none is known."""
    canonical = _CANONICAL.get(standard_name)
    if canonical is None or _parse(units).dimensionality == _parse(canonical).dimensionality:
        return None
    fitting = [
        f"{name} [{other}]"
        for name, other in _CANONICAL.items()
        if _parse(other).dimensionality == _parse(units).dimensionality
    ]
    close_matches = difflib.get_close_matches(
        f"{standard_name} [{units}]", fitting, n=1, cutoff=0.5
    )
    advice = f"; near is {close_matches[0]}" if close_matches else ""
    return (
        f"units {units!r} are not those of standard_name {standard_name!r} [{canonical}], so "
        f"programs that convert by the name would be wrong{advice}; correct one of them or "
        "leave standard_name out"
    )


def format_units(unit: PlainUnit) -> str:
    """Write units as UDUNITS does, such as 'mm month-1'."""
    parts = [
        f"{unit._REGISTRY.get_symbol(name)}{'' if power == 1 else f'{power:g}'}"
        for name, power in sorted(unit._units.items(), key=lambda item: -float(item[1]))
    ]
    return " ".join(parts) or "1"


def _parse(units: str) -> PlainUnit:
    import pint

    try:
        found = _known(units)
    except pint.UndefinedUnitError as error:
        raise ValueError(_unknown(units, _unknown_name(error))) from None
    except Exception as error:  # whatever the parser of the library stumbles over
        raise ValueError(
            f"units {units!r} cannot be understood ({error}), so nobody could convert the "
            "numbers; write them as UDUNITS does, such as 'mm month-1' or 'kg m-2 s-1', and "
            "'1' for none"
        ) from None
    return found


@cache
def _known(units: str) -> PlainUnit:
    text = _EXPONENT.sub(r"**\1", _PRODUCT.sub(" * ", units))
    registry = _registry()
    return registry.Quantity(registry.parse_expression(text)).units  # '5 min' has a factor


@cache
def _registry() -> UnitRegistry:
    from pint import UnitRegistry

    registry: UnitRegistry = UnitRegistry(autoconvert_offset_to_baseunit=True)
    for line in _EXTRA_UNITS:
        registry.define(line)
    return registry


def _unknown_name(error: Any) -> str:
    names = error.unit_names
    return str(names if isinstance(names, str) else next(iter(names)))


def _nearest(word: str, known: Sequence[str]) -> str:
    """Find what a word was to be: in another case, or by most of its letters.

    Empty where none is near.
    """
    same_letters = [other for other in known if other.casefold() == word.casefold()]
    candidates = same_letters[:1] or difflib.get_close_matches(word, known, n=_NEAR, cutoff=0.7)

    def closeness(other: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, word, other).ratio(), word.startswith(other)

    return max(candidates, key=closeness, default="")


def _unknown(units: str, word: str) -> str:
    """Write what to do about a word that is no unit."""
    known = [*_PREFIXED, *(name for name in dir(_registry()) if _WORD.fullmatch(name))]
    nearest = _nearest(word, known)
    advice = "write '1' for what has no unit, and say in long_name what it counts"
    if nearest:
        meant = _parse(re.sub(rf"\b{re.escape(word)}\b", nearest, units))
        advice = f"did you mean {format_units(meant)!r}? {advice[0].upper()}{advice[1:]}"
    return f"units {units!r} hold the unknown {word!r}, so nobody could convert them; {advice}"


def pretty_units(units: str) -> str:
    """Write UDUNITS exponents as letters: 'mm month-1' as 'mm month⁻¹'."""
    raised = _POWER.sub(_raise, units)
    return "" if units.strip() == "1" else raised


def _raise(power: re.Match[str]) -> str:
    base, exponent = (power[1] or power[3]), (power[2] or power[4])
    return base + exponent.translate(_RAISED)
