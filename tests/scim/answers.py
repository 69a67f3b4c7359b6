"""Answers to a listing that are none, and the words in which svcctl says so."""

import json

LARGE = 2 << 20
HTML = b"<html>Please log in"


def page(total: int, *ids: str) -> bytes:
    """A page of users who have nothing but a name."""
    resources = [{"id": id_, "userName": id_} for id_ in ids]
    body = json.dumps({"totalResults": total, "Resources": resources}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


BAD = {
    "html": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n" + HTML,
        "not JSON (text/html)",
    ),
    "denied": (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "401 Unauthorized"),
    "loop": (
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere/v2/Users\r\nContent-Length: 0\r\n\r\n",
        "redirected more than 5 times",
    ),
    "cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{", "damaged"),
    "large": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (LARGE, b" " * LARGE),
        "longer than 1,048,576 bytes",
    ),
    "short": (page(99), "gave 0 of 99"),
    "gone": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404 Not Found"),
    "error": (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", "503"),
    "repeated": (page(9, "zoe", "yan"), "gives the same page again"),
}
