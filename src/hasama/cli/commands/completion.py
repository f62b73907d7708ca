"""hasama completion: what the Tab key knows.

The shells' scripts are short: they ask the command itself, by a variable. So they never grow old, and each Tab takes
as long as the command takes to begin (a third of a second).
"""

import os
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hasama.cli.words import FLAG
from hasama.presets import RECIPES
from hasama.style.recipe import STYLE_RECIPES

if TYPE_CHECKING:
    from cyclopts import App

ASKED = "HASAMA_COMPLETE"
"""The variable by which a shell asks: its value is the shell's name, the words are those typed so far."""
FILES = ":files"
"""The line that tells the shell to add its own file names."""
LONGEST_HELP = 70
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
FEATURES = ("vgg19", "efficientnet", "inception")
WITHOUT_BASES = ("resume", "stop", "doctor", "report", "export", "push")
"""Commands whose run is a training, or something of one's own."""

Shell = Literal["bash", "zsh", "fish"]

SCRIPTS: dict[Shell, str] = {
    "bash": """\
# hasama in bash:  hasama completion bash > ~/.local/share/bash-completion/completions/hasama
_hasama() {
    local line files= program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]}
    [[ $current == "=" ]] && current=
    type -P -- "$program" >/dev/null || program=hasama
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then files=1; else COMPREPLY+=("$line"); fi
    done < <(HASAMA_COMPLETE=bash "$program" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [[ -n $files ]] || return 0
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
}
complete -F _hasama hasama
""",
    "zsh": """\
#compdef hasama
# hasama in zsh:  hasama completion zsh > ~/.zsh/completions/_hasama   (a folder that is in $fpath)
_hasama() {
    local line files= program=${words[1]}
    local -a found
    (( $+commands[$program] )) || [[ -x $program ]] || program=hasama
    while IFS= read -r line; do
        if [[ $line == ":files" ]]; then files=1; else found+=("$line"); fi
    done < <(HASAMA_COMPLETE=zsh "$program" "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( $#found )) && _describe -t values hasama found
    [[ -n $files ]] && _files
}
if [[ ${funcstack[1]} == _hasama ]]; then _hasama "$@"; else compdef _hasama hasama; fi
""",
    "fish": """\
# hasama in fish:  hasama completion fish > ~/.config/fish/completions/hasama.fish
function __hasama_candidates
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l program $typed[1]
    type -q $program; or set program hasama
    for line in (HASAMA_COMPLETE=fish $program $typed[2..-1] "$current" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path $current
        else
            echo $line
        end
    end
end
complete -c hasama -f -a '(__hasama_candidates)'
""",
}


def completion(shell: Shell, /) -> int:
    """Print what makes the Tab key complete commands, flags, recipes, bases and runs in your shell.

    Parameters
    ----------
    shell
        bash, zsh or fish. The script's first lines say where to put it.
    """
    from hasama.cli.terminal import say

    say(SCRIPTS[shell].rstrip("\n"))
    return 0


class Candidate(NamedTuple):
    """A word that may stand next, and what it means."""

    word: str
    help: str = ""


def answer(app: "App", shell: str, words: Sequence[str]) -> Iterator[str]:
    """The lines that a shell's script reads.

    Args:
        app: the command.
        shell: whose script asks.
        words: after `hasama`, up to the one at the cursor, which may be empty.
    """
    found, files = candidates(app, list(words) or [""])
    for word, told in found:
        told = " ".join(told.split())[:LONGEST_HELP]
        if shell == "zsh":
            word = word.replace("\\", "\\\\").replace(":", "\\:")
        yield word if shell == "bash" or not told else f"{word}{':' if shell == 'zsh' else chr(9)}{told}"
    if files:
        yield FILES


def candidates(app: "App", words: list[str]) -> tuple[list[Candidate], bool]:
    """What may stand in the last word's place, and whether a file's name may, too."""
    *before, current = [word for word in words[:-1] if word != "="] + ["" if words[-1] == "=" else words[-1]]
    if not before:
        flags = [Candidate("--help"), Candidate("--version")] if current.startswith("-") else []
        return _beginning(current, [*flags, *_commands(app)]), False
    if before[0] not in app:
        return [], False
    arguments = app[before[0]].assemble_argument_collection(parse_docstring=True)
    flags = {name: one for one in arguments for name in one.names if FLAG.fullmatch(name)}
    name, equals, value = current.partition("=")
    if equals and name in flags:
        found, files = _of(flags[name], before[0], value)
        return [Candidate(f"{name}={word}", told) for word, told in found], files
    if current.startswith("-"):
        told = [Candidate(name, one.parameter.help or "") for name, one in flags.items()]
        return _beginning(current, [*told, Candidate("--help", "What the command does, and its flags.")]), False
    asking, place = _place(before[1:], flags)
    asking = asking or _positional(arguments, place)
    return _of(asking, before[0], current) if asking else ([], False)


def _commands(app: "App") -> Iterator[Candidate]:
    """Every command, with the first line of its help."""
    for name in app:
        if not name.startswith("-"):
            yield Candidate(name, app[name].help.strip().partition("\n")[0])


def _place(words: Sequence[str], flags: dict[str, Any]) -> tuple[Any, int]:
    """The flag whose value comes next, if any; and how many words were neither a flag nor a flag's value."""
    asking, left, place = None, 0, 0
    for word in words:
        if FLAG.fullmatch(word.partition("=")[0]):
            asking = flags.get(word)
            left = 0 if asking is None or _is_switch(asking) else asking.token_count()[0]
        elif left:
            left -= 1
        else:
            place += 1
    return (asking if left else None), place


def _is_switch(argument: Any) -> bool:
    return bool in (argument.hint, *typing.get_args(argument.hint))


def _positional(arguments: Any, place: int) -> Any:
    """The argument without a flag that stands in this place; the last one may take several."""
    own = sorted((one for one in arguments if one.index is not None), key=lambda one: one.index)
    if place < len(own):
        return own[place]
    return own[-1] if own and own[-1].token_count()[1] else None


def _of(argument: Any, command: str, current: str) -> tuple[list[Candidate], bool]:
    """The values that an argument can take."""
    name = argument.names[0].lower().lstrip("-").replace("-", "_")
    known = NAMED.get(name, _literals)(command, argument)
    files = Path in _kinds(argument.hint) or name in ("source", "init_from")
    return _beginning(current, (Candidate(value) for value in known)), files


def _beginning(current: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in found if one.word.startswith(current)]


# --- values -----------------------------------------------------------------------------------------


def _kinds(hint: Any) -> set[Any]:
    """A type, and what it is made of."""
    return {hint}.union(*(_kinds(part) for part in typing.get_args(hint) if typing.get_origin(hint) is not Literal))


def _literals(command: str, argument: Any) -> list[str]:
    """The words that its type allows."""
    found = [
        part for kind in _kinds(argument.hint) if typing.get_origin(kind) is Literal for part in typing.get_args(kind)
    ]
    return list(map(str, found))


def _sources(command: str, argument: Any) -> list[str]:
    from hasama.pictures.sources.sources import BUILT_IN

    return list(BUILT_IN)


def _recipes(command: str, argument: Any) -> list[str]:
    return list(STYLE_RECIPES if command == "style" else RECIPES)


def _runs(command: str, argument: Any) -> list[str]:
    """Bases, and the runs where runs are put by default."""
    from hasama.runs.bases import base_names

    here = sorted(str(place.parent) for place in Path("runs").glob("*/recipe.json"))
    return here if command in WITHOUT_BASES else [*base_names(), *here]


def _coverages(command: str, argument: Any) -> list[str]:
    return ["ring", "grid", "hundred", "stacked-mnist"]


NAMED: dict[str, Callable[[str, Any], list[str]]] = {
    "source": _sources,
    "recipe": _recipes,
    "run": _runs,
    "init_from": _runs,
    "what": _coverages,
    "device": lambda command, argument: list(DEVICES),
    "features": lambda command, argument: list(FEATURES),
    "quality_features": _literals,
}
"""{argument: what it can be, where its type does not say}."""


def asked_by_shell() -> str | None:
    """The shell that asks what may stand next, if one does."""
    return os.environ.get(ASKED)
