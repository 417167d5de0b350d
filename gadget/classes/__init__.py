"""Device classes: each a pure protocol beside a thin shell."""
