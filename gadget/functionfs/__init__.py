"""FunctionFS: a function of a USB device as a class, its endpoints as streams."""
