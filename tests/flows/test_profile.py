from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_PROFILES_PATH, temporary_settings
from prefect.settings.profiles import load_profiles

from flows import profile

URL = "http://127.0.0.1:4321/api"


@pytest.fixture(autouse=True)
def own_profiles(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "profiles.toml"
    with temporary_settings({PREFECT_PROFILES_PATH: path}):
        yield path


def test_other_shells_find_the_server_and_afterwards_what_they_had(own_profiles: Path) -> None:
    own_profiles.write_text('active = "mine"\n[profiles.mine]\nPREFECT_HOME = "/tmp/mine"\n')
    before = profile.point_to(URL)
    assert before == "mine"
    assert load_profiles().active_name == "cubecast"
    assert URL in own_profiles.read_text()
    profile.restore(before)
    assert load_profiles().active_name == "mine"
    assert "PREFECT_HOME" in own_profiles.read_text()
    assert "cubecast" not in own_profiles.read_text()


def test_a_profile_that_the_user_chose_meanwhile_stays(own_profiles: Path) -> None:
    before = profile.point_to(URL)
    profiles = load_profiles()
    profiles.set_active("local")
    from prefect.settings.profiles import save_profiles

    save_profiles(profiles)
    profile.restore(before)
    assert load_profiles().active_name == "local"


def test_a_second_start_does_not_forget_what_was_before_the_first() -> None:
    assert profile.point_to(URL) == "ephemeral"
    assert profile.point_to(URL) is None
    profile.restore(None)
    assert load_profiles().active_name == "ephemeral"


def test_without_our_profile_nothing_is_touched(own_profiles: Path) -> None:
    profile.restore("mine")
    assert not own_profiles.exists()
