"""Tests of the harness itself: no daemon, no guest."""
