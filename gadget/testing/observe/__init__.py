"""What is watched while a test runs on the bus."""
