import unittest  # noqa: F401
