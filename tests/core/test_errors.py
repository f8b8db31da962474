"""The line of an InputError."""

import pytest

from rtmdet.core.errors import InputError


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\tc\x1b[31m", r"a\nb\tc\x1b[31m"),
        ("half \udcff of a letter", r"half \udcff of a letter"),
        ("gpj.\u202ea", r"gpj.\u202ea"),  # would show the rest from right to left
        ("two\u2028lines", r"two\u2028lines"),
        ("10.30\u202fPM", "10.30\u202fPM"),  # the space in names of macOS' screenshots
        ("a\u3000b", "a\u3000b"),  # the space in Japanese names
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),  # in Persian words
    ],
)
def test_control_characters_are_escaped_and_no_others(name: str, shown: str) -> None:
    assert str(InputError(f"{name}: no such file")) == f"{shown}: no such file"


def test_a_very_long_message_keeps_its_ends() -> None:
    message = str(InputError(f"{'a' * 10**6}.jpg: no such file"))
    assert len(message) < 4100
    assert message.startswith("aaa")
    assert message.endswith("a.jpg: no such file")
