"""Descriptors as text, in the form in which ``lsusb -v`` shows them.

What a descriptor holds is written down as data, one module for a family of classes: tables of columns, in the order of
its specification. ``columns.py`` says what a table can hold, and is the only one that reads bytes.
"""
