"""How splitci's drivers for unittest and Django get in: Python's `site` loads the first `sitecustomize` that it finds, and that is this one.

It waits for a framework to be loaded and to begin, and does nothing in a process where none does. Then it makes room for the `sitecustomize` that
would have been found without it, the application's or the system's: that one is loaded in its place, or missed in its place.
"""
import functools
import sys

# Binds clock and socket, before the application can replace them.
import splitci_wire


class Waiting:
    """Finds nothing itself: of the modules that we wait for, it tells when they have been loaded."""

    def find_spec(self, name, path=None, target=None):
        if name not in HOOKS:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = Telling(spec.loader)
                return spec
        return None


class Telling:
    """Another's loader, for once."""

    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        HOOKS[module.__name__](module)


def load(name):
    sys.path.insert(0, splitci_wire.RUN_DIRECTORY)
    try:
        return __import__(name)
    finally:
        splitci_wire.leave_path()


def hook(owner, name, begin):
    """The first call of a method goes to `begin`, and is the last that we hear of."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def first(self, *args, **kwargs):
        setattr(owner, name, original)
        return begin(self, lambda: original(self, *args, **kwargs))

    setattr(owner, name, first)


def hook_program(module):
    """`python -m unittest`, and scripts that call `unittest.main`."""
    hook(module.TestProgram, "__init__", lambda program, call: load("splitci_unittest_driver").begin(program, call))


def hook_command(module):
    """`manage.py test` loads the settings before it has a runner: what they start is no session, and if they fail there will be none."""

    def begin(utility, call):
        if utility.argv[1:2] == ["test"]:
            return load("splitci_django_driver").begin(call)
        return call()

    hook(module.ManagementUtility, "execute", begin)


def hook_runner(module):
    """The first of Django's runners that runs tests, whatever made it."""

    def begin(runner, call):
        call()
        run_tests = runner.run_tests

        def first_run(*labels, **options):
            del runner.run_tests
            return load("splitci_django_driver").begin_runner(runner, lambda: run_tests(*labels, **options))

        runner.run_tests = first_run

    hook(module.DiscoverRunner, "__init__", begin)


HOOKS = {"unittest.main": hook_program, "django.core.management": hook_command, "django.test.runner": hook_runner}

splitci_wire.leave_path()
sys.meta_path.insert(0, Waiting())
for loaded in set(HOOKS).intersection(sys.modules):
    # Something that Python loads before us was faster.
    HOOKS[loaded](sys.modules[loaded])
del sys.modules[__name__]
# Not to be found is what `site` expects of it, and of us.
import sitecustomize
