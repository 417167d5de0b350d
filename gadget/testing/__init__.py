"""Tests of gadgets on a real USB bus: the pytest plugin."""
