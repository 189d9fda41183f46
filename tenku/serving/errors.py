"""Errors as the official client reads them: {"error": {"message", "type", "param", "code"}} and the right status."""

from __future__ import annotations

from typing import Any

TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
         405: "invalid_request_error", 413: "invalid_request_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """Raised anywhere below a route; becomes the answer. Its words go to strangers: no paths, no traces."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The envelope."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def missing(what: str, name: str) -> ApiError:
    """404 for what is not there, or is somebody else's: the two look the same."""
    return ApiError(404, f"No such {what}: {name[:60]!r}", code="not_found", param="id")


def full(message: str, code: str, wait: float) -> ApiError:
    """429 with an honest Retry-After; the client itself gives up when told to wait more than two minutes."""
    seconds = max(1, round(wait))
    retry = {"x-should-retry": "false"} if seconds > 120 else {}
    return ApiError(429, message, code=code, headers={"Retry-After": str(seconds), **retry})
