"""The tests, on real definitions and real guests."""

import pytest

# What else asserts shall say as much as a test when it fails.
pytest.register_assert_rewrite("integration.tests.lives", "integration.oracle")
