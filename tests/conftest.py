"""What every test shares: the link to the specification, and how Hypothesis chooses its examples."""

from __future__ import annotations

import os

from hypothesis import settings

# Links marked tests to the rows of the specification, and fails a run that skips one.
pytest_plugins = ["tests.spec.plugin"]

# Without a deadline, because a shared machine decides how long an example takes; derandomized, because a test that
# fails must fail again.  `HYPOTHESIS_PROFILE=explore` looks further than anybody has before.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
