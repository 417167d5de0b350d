"""Only what pyproject.toml cannot say: which file describes the cffi extension."""

from setuptools import setup

setup(cffi_modules=["gadget/aio/build_aio.py:ffibuilder"])
