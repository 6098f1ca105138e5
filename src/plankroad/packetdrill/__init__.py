"""Packet scripts in packetdrill's language: read, run in virtual time or against the kernel, and judged."""
