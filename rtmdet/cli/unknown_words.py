"""Hints for unknown commands and options; many belong to other programs."""

import argparse
from collections.abc import Iterator, Sequence

from rtmdet.cli.parser import COMMANDS
from rtmdet.config.other_names import nearest, other_names
from rtmdet.core.paths import PYTHON_CONFIG

OTHER_COMMANDS = {
    **dict.fromkeys(("predict", "detect", "inference"), "infer"),
    "track": "infer --track",
    **dict.fromkeys(("val", "validate", "eval", "test"), "evaluate"),
    **dict.fromkeys(("fit", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("cam", "boxam", "explain"), "visualize"),
    **dict.fromkeys(("convert", "dataset", "split", "merge"), "data"),
}


def unknown_command(word: str) -> str | None:
    """The error for a first word that is neither a command nor an option; None if it is one."""
    if word in COMMANDS or word.startswith("-"):
        return None
    near = nearest(word.lower(), [*COMMANDS, *OTHER_COMMANDS])
    meant = f"did you mean {OTHER_COMMANDS.get(near, near)}? " if near else ""
    return f"{word}: no such command: {meant}the commands are {', '.join(COMMANDS)}"


def unknown_options(words: Sequence[str], arguments: argparse.Namespace) -> str:
    """The error for `words` of the command line that the parser of the command, with `arguments`, could not place."""
    parser = arguments.parser
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    known += [str(action.metavar) for action in parser._actions if not action.option_strings]
    has_data = "--data" not in known or bool(arguments.data or getattr(arguments, "config", None))
    missing = "--resume" if getattr(arguments, "resume", None) is True else "--data"
    named = ", ".join(_with_hints(words, known, missing=None if has_data else missing))
    return f"{parser.prog} has no {named}: `{parser.prog} --help` lists its options"


def _with_hints(words: Sequence[str], known: Sequence[str], *, missing: str | None) -> Iterator[str]:
    """Each option, with what may have been meant; words that are no option's value, too: that of the `missing`."""
    value_follows = False
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        option, equals, value = word.partition("=")
        if not option.startswith("-") or value_follows:
            if not value_follows:
                yield _with_advice(word, missing)
            value_follows = False
            continue
        value_follows = not equals and (not following.startswith("-") or following[1:2].isdigit())
        name = option.lstrip("-").lower().replace("_", "-")
        if isinstance(advice := other_names(name), str):
            yield f"{option} ({advice})" if "--set" in known else option
            continue
        hint = _hint(name, advice, known)
        if hint and "." in hint:
            hint = f"--set {hint}={following if value_follows else value or '...'}"
        elif hint and not hint.startswith("-"):
            hint = f"{hint}, without an option"
        yield f"{option} (did you mean {hint}?)" if hint else option


def _with_advice(word: str, missing: str | None) -> str:
    """A word that is no option, with what may have been meant."""
    if word.endswith(".py"):
        return f"{word!r} ({PYTHON_CONFIG}: give a YAML file with --config, see docs/from-mmdet.md)"
    if missing == "--data" and word.endswith(".pth"):
        missing = "--weights"
    return repr(word) if missing is None else f"{word!r} (did you mean {missing} {word}?)"


def _hint(name: str, theirs: Sequence[str], known: Sequence[str]) -> str | None:
    """The option among `known`, or the setting, meant by an option that they lack; `theirs`: our names for it."""
    from rtmdet.config.file import SETTINGS  # not at the top: only errors need it

    settings = {key.rpartition(".")[2].replace("_", "-"): key for key in reversed(SETTINGS) if "--set" in known}
    for ours in theirs:
        if ours in known or ("--set" in known and ours in SETTINGS):
            return ours
    if name in settings:
        return settings[name]
    if near := nearest(name, [option[2:] for option in known]):
        return f"--{near}"
    return settings.get(nearest(name, settings) or "")
