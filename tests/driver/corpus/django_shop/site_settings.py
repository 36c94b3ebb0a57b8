import os

SECRET_KEY = "x"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "real.db", "TEST": {"NAME": "test.db"}}}
if os.environ.get("TWO_DATABASES"):
    DATABASES["other"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.db"}
if os.environ.get("NO_DATABASE"):
    DATABASES = {}
if os.environ.get("OWN_RUNNER"):
    TEST_RUNNER = "own_runner.OwnRunner"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
