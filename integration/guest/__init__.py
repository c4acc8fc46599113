"""The small Linux guest that the tests and the demo boot."""
