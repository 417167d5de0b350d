"""Carries a selection of tests into the virtual machine, and what happens there back."""
