"""USB and FunctionFS as bytes and values: constants, descriptors, what ep0 reads and writes.

Everything in this package is pure. It opens nothing, waits for nothing and knows no clock, so that all
of it can be tested on any machine.
"""
