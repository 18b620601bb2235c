"""Mutations of files that follow how the files are built: text, numbers, lengths, compressed contents."""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib
from collections.abc import Callable

NUMBERS = (
    *("0", "-0", "1", "-1", "2", "127", "128", "255", "256", "65535", "65536", "1000000", "2147483647", "-2147483648"),
    *("4294967296", "9223372036854775807", "18446744073709551616", "1e300", "-1e300", "1e999", "-1e999", "1e-320"),
    *("nan", "-nan", "inf", "NaN", "0x10", "1,5", "1.5.2", "1e", "1_000", "٣", "--1", "+", "", "9" * 400, "9" * 5000),
)
STRINGS = (
    *(
        "",
        " ",
        "\t",
        "\0",
        "%s",
        "%n",
        "%s%n%x%d",
        "%999999999d",
        "../../../etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        ".",
    ),
    *("a" * 300, "b" * 1024, "c" * 70_000, "\x1b[31m\x1b]0;x\x07", "\u202e", "\ufffe", "é" * 40, "NaN", "null", "true"),
    *('"', "'", "[", "]", "{", "}", "(", ")", "(((((((((", ";", "=", ":", "\\", "\r", "\n", "\n\n", "#", "\\ud800"),
)
TOKEN = re.compile(rb"[-+]?\d[\d.eE+-]*")
WORD = re.compile(rb"[A-Za-z_]{2,}")
LARGEST = 2**22  # bytes that a repetition may take
Change = Callable[[bytes, random.Random], bytes]


def mutated(data: bytes, chance: random.Random, sealed_from: int | None = None) -> bytes:
    """Return `data` with one to three changes.

    With `sealed_from`, one bit from that byte on is flipped, or the end cut off there: a checksum has to find it.
    """
    if sealed_from is not None:
        return (_flip if chance.random() < 0.8 else _truncate)(data, chance, sealed_from)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if data[:2] == b"\x1f\x8b" and chance.random() < 0.7:
            data = _inside_gzip(data, chance)
        elif _is_tensors(data) and chance.random() < 0.7:
            data = _inside_tensors(data, chance)
        else:
            data = _changed(data, chance)
    return data


def _changed(data: bytes, chance: random.Random) -> bytes:
    text = _text_length(data)
    if text > 20 and chance.random() < 0.85:
        return chance.choice(TEXT_CHANGES)(data[:text], chance) + data[text:]
    return chance.choice(BYTE_CHANGES)(data, chance)


def _text_length(data: bytes) -> int:
    """Return how many bytes at the beginning are whole lines of text."""
    match = re.match(rb"[\t\n\r\x20-\x7e\x80-\xff]*", data)
    length = match.end() if match else 0
    return length if length == len(data) else data.rfind(b"\n", 0, length) + 1


def _inside_gzip(data: bytes, chance: random.Random) -> bytes:
    """Change the contents; the checksum fits again."""
    try:
        contents = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return _changed(data, chance)
    return gzip.compress(_changed(contents, chance), 1, mtime=0)


def _is_tensors(data: bytes) -> bool:
    return len(data) > 10 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _inside_tensors(data: bytes, chance: random.Random) -> bytes:
    """Change the JSON header of a safetensors file; its length fits again, and no checksum in it meets the change."""
    end = 8 + int.from_bytes(data[:8], "little")
    unchecked = re.sub(rb'\\"checksum\\": \d+, ', b"", data[8:end])
    header = chance.choice(TEXT_CHANGES)(unchecked, chance)
    return len(header).to_bytes(8, "little") + header + data[end:]


# ---------------------------------------------------------------- bytes


def _flip(data: bytes, chance: random.Random, first: int = 0) -> bytes:
    if len(data) <= first:
        return data
    place = chance.randrange(first, len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _truncate(data: bytes, chance: random.Random, first: int = 0) -> bytes:
    return data[: chance.randint(min(first, len(data)), max(first, len(data) - 1))]


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.choice((1, 2, 4, 8, 50, 1000)))


def _delete(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + data[stop:]


def _duplicate(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:stop] + data[start:stop] * chance.choice((1, 1, 20)) + data[stop:]


def _overwrite(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + chance.choice((b"\0", b"\xff", b"\x7f", b"\x80", b" ")) * (stop - start) + data[stop:]


def _noise(data: bytes, chance: random.Random) -> bytes:
    start, stop = _span(data, chance)
    return data[:start] + chance.randbytes(stop - start) + data[stop:]


EXTREMES = {
    "h": (0, -1, 1, 32767, -32768, 256),
    "i": (0, -1, 1, 2**31 - 1, -(2**31), 65536, 10**6),
    "q": (0, -1, 2**63 - 1, -(2**63), 2**32, 10**12),
    "f": (0.0, float("nan"), float("inf"), -1e38, 1e-40),
    "d": (0.0, float("nan"), float("inf"), 1e300, -1e300, 1e-320),
}


def _number(data: bytes, chance: random.Random) -> bytes:
    """Overwrite a number, most often of the header, by an extreme one of a usual size, in either byte order."""
    code = chance.choice(list(EXTREMES))
    packed = struct.pack(chance.choice("<>") + code, chance.choice(EXTREMES[code]))
    reach = min(len(data), chance.choice((64, 400, 400, 100_000)))
    place = chance.randrange(max(1, reach)) // len(packed) * len(packed)
    return data[:place] + packed + data[place + len(packed) :]


BYTE_CHANGES: tuple[Change, ...] = (_flip, _flip, _truncate, _delete, _duplicate, _overwrite, _noise, _number, _number)

# ---------------------------------------------------------------- text


def _replace(pattern: re.Pattern[bytes], values: tuple[str, ...]) -> Change:
    def change(text: bytes, chance: random.Random) -> bytes:
        found = list(pattern.finditer(text))
        if not found:
            return text
        match = chance.choice(found)
        return text[: match.start()] + chance.choice(values).encode() + text[match.end() :]

    return change


def _insert(text: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice(STRINGS).encode() + text[place:]


def _lines(action: Callable[[list[bytes], random.Random], list[bytes]]) -> Change:
    def change(text: bytes, chance: random.Random) -> bytes:
        lines = text.splitlines(keepends=True)
        return b"".join(action(lines, chance)) if lines else text

    return change


def _drop_line(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = chance.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def _repeat_line(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = chance.randrange(len(lines))
    return lines[:place] + _repeated(lines[place], chance.choice((2, 3, 3000))) + lines[place + 1 :]


def _repeated(part: bytes, count: int) -> list[bytes]:
    return [part] * min(count, max(2, LARGEST // (len(part) + 1)))


def _swap_lines(lines: list[bytes], chance: random.Random) -> list[bytes]:
    i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return lines


def _repeat_word(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """Drop or repeat a word of a line: a number too few, a million too many."""
    place = chance.randrange(len(lines))
    words = lines[place].rstrip(b"\n").split(b" ")
    index = chance.randrange(len(words))
    words[index : index + 1] = _repeated(words[index], chance.choice((0, 2, 2, 5000, 1_000_000)))
    return [*lines[:place], b" ".join(words) + b"\n", *lines[place + 1 :]]


def _foreign_bytes(text: bytes, chance: random.Random) -> bytes:
    place = chance.randint(0, len(text))
    return text[:place] + chance.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf", b"\xc3")) + text[place:]


def _nest(text: bytes, chance: random.Random) -> bytes:
    """Insert brackets within brackets before a number."""
    opening, closing = chance.choice(((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"(", b")")))
    depth = chance.choice((3, 900, 20_000))
    found = list(TOKEN.finditer(text))
    place = chance.choice(found).start() if found else 0
    return text[:place] + opening * depth + b"1" + closing * depth + text[place:]


TEXT_CHANGES: tuple[Change, ...] = (
    *(_replace(TOKEN, NUMBERS),) * 5,
    *(_replace(WORD, STRINGS),) * 2,
    *(_replace(WORD, NUMBERS), _insert, _insert, _flip, _truncate, _delete, _duplicate, _foreign_bytes, _nest),
    *map(_lines, (_drop_line, _repeat_line, _swap_lines, _repeat_word)),
)
