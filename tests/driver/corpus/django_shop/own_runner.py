from contract_notes import note
from django.test.runner import DiscoverRunner


class OwnRunner(DiscoverRunner):
    """As projects have them: leaves tests out, and does something around all."""

    def setup_test_environment(self, **kwargs):
        note("setup_test_environment")
        super().setup_test_environment(**kwargs)

    def setup_databases(self, **kwargs):
        note("setup_databases")
        return super().setup_databases(**kwargs)

    def teardown_databases(self, old_config, **kwargs):
        note("teardown_databases")
        super().teardown_databases(old_config, **kwargs)

    def build_suite(self, *args, **kwargs):
        suite = super().build_suite(*args, **kwargs)
        return type(suite)(test for test in suite if "test_unwanted" not in test.id())
