"""Integration tests and the demo: real guests on a private libvirt daemon."""
