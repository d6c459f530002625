"""How deep the property tests look: `HYPOTHESIS_PROFILE=thorough` for a search of minutes."""

import os

from hypothesis import HealthCheck, settings

# A busy machine must not fail a test that is only slow, so there is no deadline an example.
settings.register_profile(
    "quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=3_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
