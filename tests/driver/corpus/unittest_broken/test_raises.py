import unittest

raise ValueError("while it is loaded")
