"""The benchmarks behind scripts/bench: what a gadget in Python costs, beside the same device in C."""
