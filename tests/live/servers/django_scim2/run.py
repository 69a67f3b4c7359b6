"""A Django project with django-scim2 in the foreground: `run.py PORT PUBLIC_PORT BEARER_TOKEN`.

Its adapters are django-scim2's own. PUBLIC_PORT is where its clients reach it.
"""

import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

port, public_port, token = sys.argv[1:]
settings.configure(
    SECRET_KEY="of no importance",
    BEARER_TOKEN=token,
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_scim", "people"],
    AUTH_USER_MODEL="people.User",
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    ROOT_URLCONF="people.urls",
    MIDDLEWARE=["people.access.BearerToken", "django_scim.middleware.SCIMAuthCheckMiddleware"],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path.cwd() / "django.sqlite",
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    SCIM_SERVICE_PROVIDER={
        "SCHEME": "http",
        "NETLOC": f"127.0.0.1:{public_port}",
        "GROUP_MODEL": "people.models.Group",
        "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "Bearer token"}],
    },
)
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)
call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, skip_checks=True)
