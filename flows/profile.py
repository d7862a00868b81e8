"""The Prefect profile through which other shells find the local server."""

from __future__ import annotations

from prefect.settings import PREFECT_API_URL
from prefect.settings.profiles import load_profiles, save_profiles

NAME = "cubecast"

_DEFAULT = "ephemeral"


def point_to(url: str) -> str | None:
    """Make ``prefect`` in every shell of this user talk to ``url``.

    Returns:
        The profile that was active before, for ``restore``.
    """
    profiles = load_profiles()
    before = profiles.active_name
    profiles.update_profile(NAME, {PREFECT_API_URL: url})
    profiles.set_active(NAME)
    save_profiles(profiles)
    return before if before != NAME else None


def restore(before: str | None) -> None:
    """Go back to the profile that was active before, and drop ours."""
    profiles = load_profiles()
    if NAME not in profiles.names:
        return
    if profiles.active_name == NAME:
        profiles.set_active(before if before in profiles.names else _DEFAULT)
    profiles.remove_profile(NAME)
    save_profiles(profiles)
