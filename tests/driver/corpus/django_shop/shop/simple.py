from django.test import SimpleTestCase


class Simple(SimpleTestCase):
    def test_simple(self):
        pass
