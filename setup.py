"""Only what pyproject.toml cannot say: which file describes the cffi extension, and which Pythons one wheel is for."""

import sysconfig

from setuptools import setup

# One wheel for all Pythons since 3.11; free-threaded interpreters have no stable ABI yet, so each needs its own.
ABI = {} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp311"}}

setup(cffi_modules=["gadget/aio/build_aio.py:ffibuilder"], options=ABI)
