"""How files are fetched over HTTP: bounded in time and in bytes, without compression, which may swell; owns aiohttp.

fsspec makes a client of these for all requests to http:// and https://.
"""

import re
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

# A server that sends a byte now and then would hold a request for ever.
REQUEST_SECONDS = 180.0
SILENCE_SECONDS = 30.0

MAX_FILE_BYTES = 1 << 30  # of a file that is read as a whole: a recording, a manifest

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _BoundedResponse(aiohttp.ClientResponse):
    """An answer of which no more is read than was asked for, and a byte that shows that there is more."""

    async def read(self) -> bytes:
        """Returns the body.

        Raises:
            ValueError: A whole file was asked for, and it is larger than MAX_FILE_BYTES.
        """
        asked = _RANGE.fullmatch(self.request_info.headers.get("Range", ""))
        max_bytes = int(asked[2]) - int(asked[1]) + 1 if asked else MAX_FILE_BYTES
        body = bytearray()
        async for part in self.content.iter_any():
            body += part
            if len(body) > max_bytes:
                self.close()
                break
        if len(body) > max_bytes and not asked:
            raise ValueError(f"larger than {MAX_FILE_BYTES:,} bytes")
        return bytes(body[: max_bytes + 1])


async def bounded_client(**options: Any) -> aiohttp.ClientSession:
    """Returns a client; `options` are those of fsspec's configuration, such as headers."""
    headers = {"Accept-Encoding": "identity"} | dict(options.pop("headers", {}))
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)
    bounds = {"timeout": timeout, "auto_decompress": False, "response_class": _BoundedResponse}
    return aiohttp.ClientSession(headers=headers, **bounds | options)  # type: ignore[arg-type]


async def staying_client(**options: Any) -> aiohttp.ClientSession:
    """Returns a client as `bounded_client`, which follows no redirect to another server."""
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check_stays)
    return await bounded_client(trace_configs=[trace], **options)


async def _check_stays(
    session: aiohttp.ClientSession, context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """Raises PermissionError where an answer leads to another server than was asked."""
    headers = redirect.response.headers
    target = redirect.url.join(URL(headers.get("Location") or headers.get("URI") or ""))
    if target.origin() != redirect.url.origin():
        raise PermissionError(f"its server leads to another one, {target.host}")
