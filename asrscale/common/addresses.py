"""Addresses without what may be secret in them: whatever is written or shown of an address goes through here.

User and password, the query (tokens, signatures) and the fragment of an address are for those who may use it; what a
program writes down is read by others.
"""

import re
from typing import Any

UNCLEAN = "…"  # stands for all of an address behind its protocol that cannot be cleaned

HOW_TO_WRITE = "in a password write / ? # @ as %2F %3F %23 %40, and a blank as %20; elsewhere @ as %40"

# What follows :// up to a blank, a quotation mark or an angle bracket, or to the protocol of the next address.
_PROTOCOL = r"[a-z][a-z0-9+.-]{0,20}://"
_IN_TEXT = re.compile(rf"://((?:(?!{_PROTOCOL})[^\s\"<>])*)", re.IGNORECASE)
_IN_VALUE = re.compile(rf"://((?:(?!{_PROTOCOL}).)*)", re.IGNORECASE | re.DOTALL)
_AT_BEGINNING = re.compile(_PROTOCOL, re.IGNORECASE)
_ENDS_IN_TEXT = re.compile(r"[\s\"<>]")

_CHAIN = re.compile(r"::[a-z0-9+.-]*$", re.IGNORECASE)  # fsspec's sign between two addresses
_AUTHORITY = re.compile(r"[^/?#]*")  # RFC 3986, section 3.2: user, password, host and port
_HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.]*\]|[^:]*)(:[0-9]*)?", re.IGNORECASE)
_END_OF_SENTENCE = re.compile(r"[\])'`,;:.…]*$")

# An @, but not where a share ends a part of --augment, as in noise=https://host:8000/cafe@0.3,telephone.
_AT_SIGN = re.compile(r"@(?![01]?(\.[0-9]+)?(,|$))")

# In the names of object storage, ? and # are letters; a query has a = behind them.
_QUERY_OF_WEB = re.compile(r"[?#].*", re.DOTALL)
_QUERY_OF_STORAGE = re.compile(r"[?#][^/?#]*=.*", re.DOTALL)


def clean_text(text: str) -> str:
    """Returns a text in which no address has a user, a password, a query or a fragment; other texts as they are."""
    if "://" not in text:
        return text
    return _IN_TEXT.sub(_cleaned, text)


def clean_value(value: str) -> str:
    """Returns a column or a flag, which may be an address or a text with addresses, as `clean_text` does.

    Of an address that cannot be cleaned, only the protocol is left.
    """
    beginning = _AT_BEGINNING.match(value)
    if beginning and not can_be_cleaned(value):
        return beginning[0] + UNCLEAN
    return clean_text(value)


def clean_json(value: Any) -> Any:
    """Returns a value of JSON whose texts are those of `clean_value`."""
    if isinstance(value, str):
        return clean_value(value)
    if isinstance(value, dict):
        return {clean_json(name): clean_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(member) for member in value]
    return value


def can_be_cleaned(value: str) -> bool:
    """Whether user, password and query can be told from the rest of each address in a value; true without addresses."""
    return all(_clean_rest(match) is not None for match in _IN_VALUE.finditer(value))


def _cleaned(match: re.Match[str]) -> str:
    """Returns :// and what follows it without what may be secret."""
    rest = _clean_rest(match)
    return f"://{UNCLEAN if rest is None else rest}"


def _clean_rest(match: re.Match[str]) -> str | None:
    """Returns what follows :// without user, password, query and fragment; None where they cannot be told apart.

    A password with a slash that is not written %2F looks like a host with a port and a path: an @ behind a host with a
    colon may be the end of a password. So for a question mark and a number sign.
    """
    address = match[1]
    chain = _CHAIN.search(address)
    own = address[: chain.start()] if chain else address
    authority = _beginning(_AUTHORITY, own)
    behind = own[len(authority) :]
    host = authority.rpartition("@")[2]

    may_be_password = ":" in authority and _AT_SIGN.search(behind) is not None
    is_host = _HOST_AND_PORT.fullmatch(_END_OF_SENTENCE.sub("", host)) is not None
    if may_be_password or not is_host:
        return None

    is_web = match.string[: match.start()].lower().endswith(("http", "https"))
    query = _QUERY_OF_WEB if is_web else _QUERY_OF_STORAGE
    kept = query.sub("", behind)
    removed = authority.removesuffix(host) + behind[len(kept) :]
    if _ENDS_IN_TEXT.search(removed):
        return None
    end = _END_OF_SENTENCE.findall(removed)[0] if len(kept) < len(behind) else ""
    return host + kept + end + (chain[0] if chain else "")


def _beginning(pattern: re.Pattern[str], text: str) -> str:
    """Returns what a pattern that may match nothing finds at the beginning of a text."""
    found = pattern.match(text)
    return found[0] if found else ""
