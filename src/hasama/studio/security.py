"""Who may talk to the studio: this machine's own browser, from the studio's own pages, and nobody else.

A page of another site can send requests to 127.0.0.1, too, and a name of its own can be made to point there (DNS
rebinding). So a request must name one of the studio's own hosts; what changes something must come from one of its own
pages; and whoever listens beyond this machine needs a password.
"""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = ("GET", "HEAD", "OPTIONS")
COOKIE = "hasama-studio"
OPEN = ("/login", "/language", "/static/studio.css")
"""What can be seen without the password."""

WRONG_MOST, WRONG_SECONDS = 10, 60.0
"""Wrong passwords in so long, of all visitors together: whoever guesses could have many addresses."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, the Origin of the studio's own forms would be null
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), display-capture=(), usb=(), serial=()",
}
"""Plotly sets styles of its own; scripts come from the studio's files alone. The camera is for `/camera`, which sends
its pictures to this machine and nowhere else; a browser asks its user first."""


class Guard:
    """Turns away what does not come from the studio's own pages, and adds `HEADERS` to every answer.

    Args:
        app: what is guarded.
        hosts: names with ports that the studio goes by, such as 127.0.0.1:8765.
        token: whoever sends it as X-Hasama-Token is trusted like a page: scripts and tests.
        password: None: none is needed.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str, password: str | None = None) -> None:
        self.app, self.hosts, self.token = app, {host.lower() for host in hosts}, token
        self.password = password
        self.session = hmac.new(secrets.token_bytes(32), b"session", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # there are no websockets
        headers = Headers(scope=scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    given[name] = value
                if "cache-control" not in given:
                    given["cache-control"] = "private, no-cache" if self.password is None else "no-store"
            await send(message)

        refusal = self.refusal(scope, headers)
        scope["hasama.guard"] = self
        await (refusal or self.app)(scope, receive, with_headers)

    def refusal(self, scope: Scope, headers: Headers) -> Any:
        """What to answer to a request that is turned away; None: let it in."""
        if not self._is_own(headers.get("host", "")):
            known = ", ".join(sorted(self.hosts))
            return PlainTextResponse(f"This is not the studio's address. It goes by {known}.", 421)
        if not self._comes_from_here(scope, headers):
            return PlainTextResponse("This request does not come from the studio's own pages.", 403)
        if self.password is not None and scope["path"] not in OPEN and not self.is_known(headers):
            wants_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
            return RedirectResponse("/login", 303) if wants_page else PlainTextResponse("A password is needed.", 401)
        return None

    def _comes_from_here(self, scope: Scope, headers: Headers) -> bool:
        if self._has_token(headers):
            return True
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        safe = scope["method"] in SAFE
        visited = safe and mode == "navigate" and not scope["path"].startswith("/api/")
        if site in ("cross-site", "same-site") and not visited:  # another port of this machine is same-site
            return False
        origin = headers.get("origin")
        if origin is None:
            return safe
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https"):
            return False
        return host.lower() in self.hosts or host == headers.get("host")  # by whatever name it was let in

    def _is_own(self, host: str) -> bool:
        """One of the names; or, where others may visit, any number of a machine: no foreign name can be one."""
        return host.lower() in self.hosts or (self.password is not None and _is_address(host))

    def _has_token(self, headers: Headers) -> bool:
        return hmac.compare_digest(headers.get("x-hasama-token", "").encode(), self.token.encode())

    def is_known(self, headers: Headers) -> bool:
        """Whether the password was given before, or the token is."""
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return self._has_token(headers) or hmac.compare_digest(given.encode(), self.session.encode())

    def is_password(self, given: str) -> bool:
        """Whether this is the password."""
        return self.password is not None and hmac.compare_digest(given.encode(), self.password.encode())


def _is_address(host: str) -> bool:
    """192.168.0.5:8765 or [fe80::1]:8765, and not a name."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class Tries:
    """How often the password was wrong of late.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now, self.wrong = now, deque[float](maxlen=WRONG_MOST)

    def too_many(self) -> bool:
        """Whether nobody may try now."""
        return len(self.wrong) == WRONG_MOST and self.now() - self.wrong[0] < WRONG_SECONDS

    def add(self) -> None:
        """It was wrong."""
        self.wrong.append(self.now())
