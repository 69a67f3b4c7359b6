"""canaille (https://canaille.yaal.coop) in the foreground: `run.py PORT PUBLIC_PORT CLIENT_SECRET`.

Does what `canaille install`, `canaille create client` and `canaille run` do, in one process: each
of these takes two seconds to start. PUBLIC_PORT is where its clients reach it.
"""

import sys
from pathlib import Path

from canaille import create_app
from canaille.app import models
from canaille.app.installation import install
from canaille.backends import Backend
from werkzeug.serving import run_simple

port, public_port, secret = sys.argv[1:]
app = create_app(
    {
        "SECRET_KEY": "of no importance",
        "SERVER_NAME": f"127.0.0.1:{public_port}",
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "sql"},
        "CANAILLE_SQL": {
            "DATABASE_URI": f"sqlite:///{Path.cwd() / 'canaille.sqlite'}",
            "PASSWORD_SCHEMES": "plaintext",
        },
        "CANAILLE_OIDC": {"ENABLE_OIDC": True},
        "CANAILLE_SCIM": {"ENABLE_SERVER": True},
    }
)
with app.app_context(), Backend.instance.session():
    install(app)
    Backend.instance.save(
        models.Client(
            client_id="svcctl",
            client_secret=secret,
            client_name="svcctl",
            client_uri="http://127.0.0.1",
            redirect_uris=["http://127.0.0.1/"],
            grant_types=["client_credentials"],
            scope=["profile", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )
    )
run_simple("127.0.0.1", int(port), app, threaded=True)
