"""Seeing inside: the structured event log, counters as text, sequence ladders."""
