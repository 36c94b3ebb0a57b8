from test_fixtures import First, setUpModule, tearDownModule  # noqa: F401
from test_plain import Single  # noqa: F401


class Third(First):
    def test_d(self):
        pass
