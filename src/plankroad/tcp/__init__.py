"""The TCP machine: RFC 9293 without I/O, clock or randomness of its own. Begin at `connection`."""
