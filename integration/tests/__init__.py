"""The tests, on real definitions and real guests."""

import pytest

# Rewrite the asserts of these modules, too, so that their failures show values.
pytest.register_assert_rewrite("integration.tests.lives", "integration.tests.refused", "integration.oracle")
