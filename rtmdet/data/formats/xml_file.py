"""XML files: read with a one-line error for every fault, by a parser that expands no entities and loads nothing."""

import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import decode_text, read_whole
from rtmdet.data.coco.file import is_number

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_xml(path: Path) -> Element:
    """The root of an XML document.

    Raises InputError if the file is missing, cannot be read, is not XML (with line and column) or has a DOCTYPE.
    """
    # A DOCTYPE can declare entities, which can read other files or fill the memory.
    builder = TreeBuilder()
    content = read_whole(path)

    def refuse(*_: object) -> None:
        raise InputError(f"{path}: expected XML without a DOCTYPE, found one; label files do not need it, remove it")

    try:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = refuse
        parser.StartElementHandler = builder.start
        parser.EndElementHandler = builder.end
        parser.CharacterDataHandler = builder.data
        parser.Parse(content, True)
        return builder.close()
    except expat.ExpatError as error:
        if b"encoding" not in content[:100] and not _is_readable(content):
            raise InputError(
                f"{path}: expected XML in UTF-8, found another encoding, which its first line does not name; save it "
                "as UTF-8"
            ) from error
        where = f"line {error.lineno}, column {error.offset + 1}"
        reason = expat.ErrorString(error.code)
        raise InputError(f"{path}: not XML at {where} ({reason}); correct the file or write it again") from error
    except InputError:
        raise
    except (ValueError, LookupError) as error:  # an encoding unknown to Python
        raise InputError(
            f"{path}: expected XML in UTF-8, found another encoding ({error}); save it as UTF-8"
        ) from error


def _is_readable(content: bytes) -> bool:
    """Whether bytes are text in UTF-8, or in UTF-16 with a mark."""
    try:
        decode_text(content)
    except UnicodeDecodeError:
        return False
    return True


def root_tag(path: Path) -> str | None:
    """The tag of the root of an XML document; None for a file that `read_xml` refuses."""
    try:
        return read_xml(path).tag
    except InputError:
        return None


def xml_text(text: str) -> str:
    """A text without the characters that XML cannot hold, as names of files may have: each becomes a ?."""
    return _NOT_XML.sub("?", text)


def parse_number(text: str | None) -> float | None:
    """The finite number in a text, None if there is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if is_number(number) else None
