"""What stands around a gadget on its own machine: identity, device nodes, gadgets that are there already."""
