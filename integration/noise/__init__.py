"""An attacker without a guest: a program that writes registers of a paused machine through QEMU's qtest protocol."""
