"""The connection to the private daemon, and the daemon itself."""
