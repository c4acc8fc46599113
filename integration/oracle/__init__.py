"""The expected results: the rules from the measurements, the verdict on a guest, and the cases of integration/data."""
