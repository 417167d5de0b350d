"""What other packages can do, shown here: a module for each, a test for each thing."""
