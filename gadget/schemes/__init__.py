"""Gadgets in files: our own TOML, libusbgx's schemes, and the TOML of the Rust command ``usb-gadget``."""
