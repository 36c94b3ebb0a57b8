"""splitci's driver for Django's test runner: unittest's, inside `manage.py test`, or wherever else a `DiscoverRunner` runs tests.

The runner's own `build_suite` is called once for the list and then once for each unit, so that tags, patterns, order and whatever a runner of the
project's own does hold as they do in a plain run, within a file. Its databases are made once in a session, under a name of the shard's own, and torn
down at the end.
- Which databases tests need is known when they are loaded, and databases are made before. So one is made whether or not it is needed; where several
  are configured, every shard loads all tests first.
- A `TransactionTestCase` leaves its databases empty, and Django runs those after all that count on what migrations put in. Units come in any order:
  a database is given its first content again at the end of a unit that emptied it.
"""
import functools
import os
import unittest

import django
import splitci_unittest_driver
from django.utils.datastructures import OrderedSet
from splitci_heard import leaves
from splitci_unittest_driver import Driver, Feed, claim, dotted


def begin(call):
    """The process is Django's command for tests."""
    driver = claim(DjangoDriver)
    return driver.outermost(call, lambda _: False) if driver else call()


def begin_runner(runner, call):
    """The first runner of this process that runs tests."""
    driver = claim(DjangoDriver) or claimed()
    if driver is None:
        return call()
    driver.take_runner(runner)
    return driver.outermost(call, bool)


def claimed():
    """The driver of `manage.py test`, until it has a runner."""
    driver = splitci_unittest_driver.DRIVER
    return driver if isinstance(driver, DjangoDriver) and driver.runner is None else None


class DjangoDriver(Driver):
    def __init__(self, address):
        super().__init__(address, "django", django.get_version())
        self.runner = None

    def take_runner(self, runner):
        self.runner = runner
        self.settle(runner, "failfast", False, "--failfast does not count over shards and is off: use `splitci run --fail-fast`")
        self.settle(runner, "pdb", False, "--pdb is off inside a shard: there is no terminal")
        if (getattr(runner, "parallel", 0) or 0) > 1:
            self.settle(runner, "parallel", 1, "--parallel is off inside a shard: use `splitci run --shards N`")
        # A database of a session that was lost is in nobody's way.
        runner.interactive = False
        self.settle_order(runner)
        self.whole = self.whole or len(real_databases()) > 1
        self.speak()
        build, databases, setup = runner.build_suite, runner.get_databases, runner.setup_databases
        runner.build_suite = functools.partial(self.build_suite, build)
        runner.get_databases = functools.partial(self.get_databases, databases)
        runner.setup_databases = functools.partial(self.setup_databases, setup)

    def settle_order(self, runner):
        """The same order in every shard."""
        if getattr(runner, "shuffle", False) is None:
            runner.shuffle = self.seed % 10**10
        if getattr(runner, "shuffle", False) is not False:
            self.seed = runner.shuffle

    # Suites

    def build_suite(self, build, test_labels=None, *args, **kwargs):
        labels = [label if os.path.isdir(label) else dotted(label) for label in test_labels or ()]
        loud = True

        def rebuild():
            nonlocal loud
            if loud:
                loud = False
                return build(labels, *args, **kwargs)
            # What it says of all tests it would say of each file.
            self.runner.log = lambda *_, **__: None
            try:
                return build(labels, *args, **kwargs)
            finally:
                del self.runner.log

        self.build(self.runner.test_loader, rebuild)
        return Feed(self)

    # Databases

    def get_databases(self, original, suite):
        """What is configured, where it is not known yet what tests use; with its content, to be given back."""
        found = original(suite)
        if any(unit.places for unit in self.units.values()):
            found = real_databases()
        # Before Django 3.2 it was a set, and all of them kept their content.
        return {alias: True for alias in found} if isinstance(found, (dict, list)) and django.VERSION >= (3, 2) else set(found)

    def setup_databases(self, original, *args, **kwargs):
        if self.address.shards > 1 and self.address.shard != "1":
            self.separate_databases()
        return original(*args, **kwargs)

    def separate_databases(self):
        """Shards may have one database server between them, or one directory. Each but the first adds its number to names, as Django does for clones."""
        from django.db import connections

        for connection in (connections[alias] for alias in real_databases()):
            test = connection.settings_dict["TEST"]
            name = str(test.get("NAME") or "")
            if connection.vendor == "sqlite":
                if name and name != ":memory:" and "mode=memory" not in name:
                    root, extension = os.path.splitext(name)
                    test["NAME"] = "%s_%s%s" % (root, self.address.shard, extension)
            else:
                name = name or "test_" + str(connection.settings_dict["NAME"])
                test["NAME"] = "%s_%s" % (name, self.address.shard)

    def load(self, name, file):
        """As Django's own suite: no test twice, whatever labels it is found by."""
        return unittest.TestSuite(OrderedSet(leaves(super().load(name, file))))

    def after_unit(self, tests):
        from django.db import connections
        from django.test import TestCase, TransactionTestCase

        emptied = set()
        for kind in {type(test) for test in tests if isinstance(test, TransactionTestCase) and not isinstance(test, TestCase)}:
            names = getattr(kind, "databases", ())
            emptied.update(connections if names == "__all__" else names)
        for alias in sorted(emptied):
            refill(connections[alias], alias)


def real_databases():
    """Names of those that there are, without those that stand for another."""
    from django.db import connections

    settings = {alias: connections[alias].settings_dict for alias in connections}
    return [alias for alias, one in settings.items() if not one["ENGINE"].endswith(".dummy") and not (one.get("TEST") or {}).get("MIRROR")]


def refill(connection, alias):
    content = getattr(connection, "_test_serialized_contents", None)
    if content is None:
        return
    from django.apps import apps
    from django.core.management import call_command
    from django.core.management.color import no_style
    from django.core.management.sql import emit_post_migrate_signal
    from django.db import router

    call_command("flush", verbosity=0, interactive=False, database=alias, reset_sequences=True, inhibit_post_migrate=True)
    connection.creation.deserialize_db_from_string(content)
    models = [model for one in apps.get_app_configs() for model in router.get_migratable_models(one, alias, include_auto_created=True)]
    with connection.cursor() as cursor:
        # Rows came with their numbers: the next ones begin after them.
        for line in connection.ops.sequence_reset_sql(no_style(), [model for model in models if model._meta.managed]):
            cursor.execute(line)
    forget_rows()
    # The content is that of applications with migrations. What others have is made by this signal, as at first; what is there stays.
    emit_post_migrate_signal(verbosity=0, interactive=False, db=alias)


def forget_rows():
    """What Django itself remembers of rows by their number, which may be another now."""
    from django.apps import apps

    for application, model in (("contenttypes", "ContentType"), ("sites", "Site")):
        if apps.is_installed("django.contrib." + application):
            apps.get_model(application, model).objects.clear_cache()
