"""The header of one Content-Length frame, field by field: which length it announces, and why it is refused.

LSP's base protocol says that fields conform to HTTP's grammar, in ASCII, and defines two of them.  What real peers
write differently is accepted: the case of names (Emacs and Go peers), no space or several behind the colon, fields in
any order, ``charset=utf8`` (which LSP asks for by name), unknown fields.  What two readers of one stream could read
differently is refused, because the bytes after the header would then be a payload to one and a header to the other:
two lengths, even equal ones (RFC 9112 section 6.3 lets both be refused), lengths with sign, space, comma or other
scripts' digits, folded lines (RFC 9112 section 5.2), space before the colon (section 5.1), control characters, and
Transfer-Encoding.

Must never see a line end: lines are cut before.
"""

from __future__ import annotations

import re
from typing import Final

from trio_mcp_transport.errors import FramingError

__all__ = ["ContentFields"]

_FIELDS = 100
"""Fields of one header; Apache's LimitRequestFields and http.client's ``_MAXHEADERS``."""

_SHOWN = 60
"""Bytes of a refused line that an error shows."""

# RFC 9110 section 5.6.2: token.  The value is what LSP leaves of HTTP's: ASCII, no control character but the tab.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~]*)")
_BEGINNINGS: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\r")
_HTTP: Final = re.compile(rb"HTTP/\d.*|.* HTTP/\d(?:\.\d)?", re.DOTALL)
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
"""19 digits hold every length below 2**63; ``int`` of more takes quadratic time, and Python refuses it at 4,300."""

_SPACE: Final = b" \t"
_UTF8: Final = frozenset({b"utf-8", b"utf8"})


class ContentFields:
    """Collect the fields of one header."""

    __slots__ = ("_count", "_length", "_typed")

    def __init__(self) -> None:
        self._count = 0
        self._length: int | None = None
        self._typed = False

    @staticmethod
    def check_beginning(byte: int) -> None:
        """Refuse a line by its first byte, so that a peer of another protocol need not send a whole one.

        JSON, TLS and a folded line show themselves here; a CR may begin the end of the header.

        Raises:
            FramingError: No field begins like this.
        """
        if byte not in _BEGINNINGS:
            raise FramingError(f"a header line begins with byte 0x{byte:02x}, as no field does")

    def add(self, line: bytes) -> None:
        """Read one line, without its line end.

        Raises:
            FramingError: It is no field, one too many, or one that must not be obeyed.
        """
        self._count += 1
        if self._count > _FIELDS:
            raise FramingError(f"a header has more than {_FIELDS} fields")
        field = _FIELD.fullmatch(line)
        if field is None:
            kind = "the peer speaks HTTP" if _HTTP.fullmatch(line) else "a header line is no field"
            raise FramingError(f"{kind}: {line[:_SHOWN]!r}")
        name, value = field[1].lower(), field[2].strip(_SPACE)
        if name == b"content-length":
            self._add_length(value)
        elif name == b"content-type":
            self._add_type(value)
        elif name in (b"transfer-encoding", b"content-encoding"):
            # The first would move the end of the frame, the second change what is in it.
            raise FramingError(f"a header has a field {name.decode()}: frames have their plain length and no coding")

    def length(self) -> int:
        """Return the bytes of payload that the complete header announces.

        Raises:
            FramingError: It does not say.
        """
        if self._length is None:
            raise FramingError("a header has no Content-Length")
        return self._length

    def _add_length(self, value: bytes) -> None:
        if self._length is not None:
            raise FramingError("a header has two Content-Lengths")
        if not _LENGTH.fullmatch(value):
            raise FramingError(f"a Content-Length is no decimal number of up to 19 digits: {value[:_SHOWN]!r}")
        self._length = int(value)

    def _add_type(self, value: bytes) -> None:
        """Accept any media type, for peers name several, and no other charset than UTF-8 (LSP, "Header Part")."""
        if self._typed:
            raise FramingError("a header has two Content-Types")
        self._typed = True
        for parameter in value.split(b";")[1:]:
            name, _, charset = parameter.partition(b"=")
            if name.strip(_SPACE).lower() == b"charset" and charset.strip(_SPACE + b'"').lower() not in _UTF8:
                raise FramingError(f"the peer sends another charset than UTF-8: {value[:_SHOWN]!r}")
