"""Who may use the SCIM endpoint: whoever has the bearer token."""

from django.conf import settings


class Machine:
    is_authenticated = True
    is_anonymous = False
    is_active = True


class BearerToken:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.headers.get("Authorization") == f"Bearer {settings.BEARER_TOKEN}":
            request.user = Machine()
        return self.get_response(request)
