"""The tests, on real definitions and real guests."""
