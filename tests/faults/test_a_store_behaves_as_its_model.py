"""Whatever is published, killed and cleaned in any order, readers see what was meant."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from stores.clean import clean
from stores.published import published_issues
from stores.retention import RetentionPolicy
from stores.verify import verify
from tests.make_issue import make_issue, make_key

INITS = ("2017-10", "2017-11", "2017-12")
BUNDLES = ("b1", "b2", "b3")
BEFORE = (
    *("forecast.template", "forecast.commit", "cog.rename"),
    *("publish.item", "publish.manifest", "publish.sync", "publish.rename"),
)
BEHIND = ("publish.catalog", "publish.rest", "discard.rename")


class PowerCut(BaseException):
    """Nothing may catch it and clean up."""


class Store(RuleBasedStateMachine):
    """A store beside a dictionary: of every init, the bundles in the order of their issues."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="cubecast-model-"))
        self.model: dict[str, list[str]] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @rule(init=st.sampled_from(INITS), bundle=st.sampled_from(BUNDLES))
    def publish(self, init: str, bundle: str) -> None:
        done = make_issue(self.root, make_key(init=init, bundle=bundle))
        known = self.model.setdefault(init, [])
        assert done.is_new == (bundle not in known)
        if done.is_new:
            known.append(bundle)

    @rule(
        init=st.sampled_from(INITS),
        bundle=st.sampled_from(BUNDLES),
        point=st.sampled_from([*BEFORE, *BEHIND]),
    )
    def publish_until_a_power_cut(self, init: str, bundle: str, point: str) -> None:
        def cut(*_: object) -> None:
            raise PowerCut

        known = self.model.get(init, [])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CUBECAST_CRASH_AT", point)
            patch.setattr("stores.crash.os.kill", cut)
            try:
                make_issue(self.root, make_key(init=init, bundle=bundle))
            except PowerCut:
                is_published = point in BEHIND
            else:
                is_published = True
        if is_published and bundle not in known:
            self.model.setdefault(init, []).append(bundle)

    @rule()
    def clean_away_what_dead_runs_left(self) -> None:
        if self.model:
            clean(self.root, RetentionPolicy(min_age_s=0))
            assert verify(self.root) == []

    @invariant()
    def readers_see_what_was_published(self) -> None:
        issues = published_issues(self.root).get("rain", [])
        found: dict[str, list[str]] = {}
        for issue in sorted(issues, key=lambda one: (one.key.init, one.revision)):
            found.setdefault(issue.key.init, []).append(issue.key.bundles[0])
            assert verify(issue.path) == []
        assert found == {init: known for init, known in self.model.items() if known}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_store_behaves_as_its_model() -> None:
    steps = settings(max_examples=12, stateful_step_count=12, deadline=None)
    run_state_machine_as_test(Store, settings=steps)
