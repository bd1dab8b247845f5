"""Addresses without what may be secret in them: whatever is written or shown of an address goes through here.

User and password, the query (tokens, signatures) and the fragment of an address are for those who may use it; what a
program writes down is read by others. Of a query that has nothing like a token in it, the parameters stay that only say
which page or place is meant, as `?v=ID`.
"""

import html
import re
from typing import Any
from urllib.parse import unquote

UNCLEAN = "…"  # stands for all of an address behind its protocol that cannot be cleaned

HOW_TO_WRITE = "in a password write / ? # @ as %2F %3F %23 %40, and a blank as %20; elsewhere @ as %40"

# What follows :// up to a blank, a quotation mark or an angle bracket, or to the protocol of the next address.
_PROTOCOL = r"[a-z][a-z0-9+.-]{0,20}://"
_IN_TEXT = re.compile(rf"://((?:(?!{_PROTOCOL})[^\s\"<>])*)", re.IGNORECASE)
_IN_VALUE = re.compile(rf"://((?:(?!{_PROTOCOL}).)*)", re.IGNORECASE | re.DOTALL)
_AT_BEGINNING = re.compile(_PROTOCOL, re.IGNORECASE)
_ENDS_IN_TEXT = re.compile(r"[\s\"<>]")

# Addresses that are written otherwise: without a protocol; with the slashes of JSON; as a part of another address, or
# of HTML. They end as those in a text do.
_MAY_BE_ADDRESS = re.compile(r"//|\\/|%(25)*2f|u002f|&#(x2f|0*47);|&sol;", re.IGNORECASE)
_WITHOUT_PROTOCOL = re.compile(r"(?<![\w:/\\.])//[^\s\"<>/]+[^\s\"<>]*")
_SLASH_OF_JSON = re.compile(r"\\{1,4}/|\\{1,4}u002f", re.IGNORECASE)
_ENCODED_COLON = r"(?::|%(?:25)*3a|\\{1,4}u003a|&#(?:x3a|0*58);|&colon;)"
_ENCODED_SLASH = r"(?:/|\\{1,4}/|%(?:25)*2f|\\{1,4}u002f|&#(?:x2f|0*47);|&sol;)"
_ENCODED = re.compile(rf"(?<=\w)(?!://){_ENCODED_COLON}{_ENCODED_SLASH}{{2}}[^\s\"<>]*", re.IGNORECASE)
_MOST_LAYERS = 4  # of percent signs that are themselves encoded

_CHAIN = re.compile(r"::[a-z0-9+.-]*$", re.IGNORECASE)  # fsspec's sign between two addresses
_AUTHORITY = re.compile(r"[^/?#]*")  # RFC 3986, section 3.2: user, password, host and port
_HOST_AND_PORT = re.compile(r"(\[[0-9a-f:.]*\]|[^:]*)(:[0-9]*)?", re.IGNORECASE)
_END_OF_SENTENCE = "])'`,;:.…"

# An @, but not where a share ends a part of --augment, as in noise=https://host:8000/cafe@0.3,telephone.
_AT_SIGN = re.compile(r"@(?![01]?(\.[0-9]+)?(,|$))")

# In the names of object storage, ? and # are letters; a query has a = behind them.
_QUERY_OF_WEB = re.compile(r"[?#].*", re.DOTALL)
_QUERY_OF_STORAGE = re.compile(r"[?#][^/?#]*=.*", re.DOTALL)

# Parameters that only say which page or recording is meant, or which place in it, with values that look so. Others may
# be anything, and a long value may be a token whatever its name.
_NAMES_OF_IDS = frozenset(("v", "id", "video", "video_id", "clip", "clip_id", "episode", "lang", "language", "hl"))
_NAMES_OF_PLACES = frozenset(
    ("t", "start", "end", "time", "offset", "p", "page", "line", "row", "n", "index", "chapter", "part", "date", "year")
)
_ID = re.compile(r"[a-z0-9_-]{1,12}|[0-9]{1,20}", re.IGNORECASE)
_PLACE = re.compile(r"[0-9hms.:-]{1,16}", re.IGNORECASE)
_NAME_OF_SECRET = re.compile(
    r"auth|token|secret|pass|pwd|pw$|sig|key|cred|jwt|session|sid$|cookie|ticket|hmac|hash|code|otp|pin$|nonce|user|"
    r"login|email|account|policy|expir|signed|security|x-(amz|goog|ms|oss|cos|obs)|^(se|sp|sv|sr|st|spr|skoid|sktid)$",
    re.IGNORECASE,
)


def clean_text(text: str) -> str:
    """Returns a text in which no address has a user, a password, a token or a fragment; other texts as they are."""
    if not may_hold_address(text):
        return text
    text = _IN_TEXT.sub(_cleaned, text)
    text = _WITHOUT_PROTOCOL.sub(_cleaned_without_protocol, text)
    return _ENCODED.sub(_cleaned_encoded, text)


def may_hold_address(text: str) -> bool:
    """Whether a text has the slashes of an address, in any form; false for nearly all texts, and soon known."""
    return _MAY_BE_ADDRESS.search(text) is not None


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
    is_host = _HOST_AND_PORT.fullmatch(host.rstrip(_END_OF_SENTENCE)) is not None
    if may_be_password or not is_host:
        return None

    is_web = match.string[max(0, match.start() - 5) : match.start()].lower().endswith(("http", "https"))
    query = _QUERY_OF_WEB if is_web else _QUERY_OF_STORAGE
    kept = query.sub("", behind)
    removed = authority.removesuffix(host) + behind[len(kept) :]
    harmless = _harmless_query(behind[len(kept) :]) if is_web else ""
    ends_harmless = harmless and _ENDS_IN_TEXT.match(behind.removeprefix(kept + harmless).lstrip(_END_OF_SENTENCE))
    if _ENDS_IN_TEXT.search(removed) and not ends_harmless:
        return None
    kept += harmless
    end = removed[len(removed.rstrip(_END_OF_SENTENCE)) :] if len(kept) < len(behind) else ""
    return host + kept + end + (chain[0] if chain else "")


def _harmless_query(query: str) -> str:
    """Returns what may stay of a query and a fragment: nothing where a parameter of it is named like a secret."""
    before_fragment = _ENDS_IN_TEXT.split(query, maxsplit=1)[0].partition("#")[0]
    parameters = before_fragment.removeprefix("?").rstrip(_END_OF_SENTENCE).replace("&amp;", "&").split("&")
    names = [unquote(parameter.partition("=")[0]) for parameter in parameters]
    if any(map(_NAME_OF_SECRET.search, names)):
        return ""
    harmless = [parameter for parameter in parameters if _is_harmless(*parameter.partition("="))]
    return f"?{'&'.join(harmless)}" if harmless else ""


def _is_harmless(name: str, equals_sign: str, value: str) -> bool:
    """Whether a parameter only says which page or recording is meant, or which place in it."""
    is_id = name.lower() in _NAMES_OF_IDS and _ID.fullmatch(value)
    is_place = name.lower() in _NAMES_OF_PLACES and _PLACE.fullmatch(value)
    return bool(equals_sign and (is_id or is_place))


def _cleaned_without_protocol(match: re.Match[str]) -> str:
    """Returns // and what follows it, without what may be secret where that is an address."""
    authority = _beginning(_AUTHORITY, match[0][2:])
    is_address = "@" in authority or ("." in authority and "?" in match[0])
    return _IN_TEXT.sub(_cleaned, f"https:{match[0]}").removeprefix("https:") if is_address else match[0]


def _cleaned_encoded(match: re.Match[str]) -> str:
    """Returns an address in another form as it is where nothing in it is secret, else without all that may be.

    With the slashes of JSON it is still an address; of others nothing is left.
    """
    plain = decoded = _SLASH_OF_JSON.sub("/", match[0])
    for _ in range(_MOST_LAYERS):
        decoded = html.unescape(unquote(decoded))
    is_decoded = decoded == html.unescape(unquote(decoded))
    address = f"https{decoded}"
    if is_decoded and can_be_cleaned(address) and _IN_TEXT.sub(_cleaned, address) == address:
        return match[0]
    if plain.startswith("://"):
        return _IN_TEXT.sub(_cleaned, f"https{plain}").removeprefix("https")
    return f"://{UNCLEAN}"


def _beginning(pattern: re.Pattern[str], text: str) -> str:
    """Returns what a pattern that may match nothing finds at the beginning of a text."""
    found = pattern.match(text)
    return found[0] if found else ""
