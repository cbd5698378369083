"""The framings of a byte stream by name, and the place of a name in an address.

Must never know how a framing works; the codecs in ``wire`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, get_args

from ..abc import FrameCodec
from ..errors import ConfigError
from ..wire.content_length import ContentLengthCodec
from ..wire.length_prefix import LengthPrefixCodec
from ..wire.newline import NewlineCodec

__all__ = ["FRAMINGS", "Framing", "codec_factory", "framing_suffix"]

Framing = Literal["newline", "content-length", "length-prefix"]
"""``newline`` is what the specification recommends on byte streams; the others are for peers that use them."""

FRAMINGS: Final[tuple[str, ...]] = get_args(Framing)
"""The names."""

_CODECS: Final[dict[str, Callable[[int], FrameCodec]]] = {
    "newline": NewlineCodec,
    "content-length": ContentLengthCodec,
    "length-prefix": LengthPrefixCodec,
}


def codec_factory(framing: str) -> Callable[[int], FrameCodec]:
    """Return what makes a codec for a largest message in bytes.

    Raises:
        ConfigError: There is no such framing.
    """
    try:
        return _CODECS[framing]
    except (KeyError, TypeError):
        raise ConfigError(f"framing is one of {', '.join(FRAMINGS)}, not {framing!r}") from None


def framing_suffix(framing: str) -> str:
    """Return what an address ends with: nothing for the default framing."""
    return "" if framing == "newline" else f"?framing={framing}"
