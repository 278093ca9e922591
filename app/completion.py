"""Completion scripts for bash, zsh and fish, made from the grammar itself."""

from __future__ import annotations

import argparse

from app.parser import PROGRAM


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script to source; it completes commands, actions and flags."""
    words = _words(parser)
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](words)


def _words(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[str]]:
    """What may follow each command path."""
    found: dict[tuple[str, ...], list[str]] = {path: []}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                found[path].append(name)
                found.update(_words(child, (*path, name)))
        else:
            found[path] += [flag for flag in action.option_strings if flag.startswith("--")]
    return found


def _bash(words: dict[tuple[str, ...], list[str]]) -> str:
    cases = "\n".join(
        f'    "{" ".join(path)}") words="{" ".join(names)}" ;;' for path, names in words.items()
    )
    return f"""_procore_ingest() {{
  local path="" word words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${{COMP_WORDS[i]}}"
    [[ "$word" == -* ]] && continue
    case " {" ".join(sorted({name for path in words for name in path}))} " in
      *" $word "*) path="${{path:+$path }}$word" ;;
    esac
  done
  case "$path" in
{cases}
    *) words="" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
  [[ ${{#COMPREPLY[@]}} -eq 0 ]] && COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _procore_ingest {PROGRAM}
"""


def _zsh(words: dict[tuple[str, ...], list[str]]) -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(words)}"


def _fish(words: dict[tuple[str, ...], list[str]]) -> str:
    lines = [f"complete -c {PROGRAM} -f"]
    for path, names in words.items():
        condition = (
            " ; and ".join(f"__fish_seen_subcommand_from {name}" for name in path)
            if path
            else "__fish_use_subcommand"
        )
        for name in names:
            if name.startswith("--"):
                lines.append(f"complete -c {PROGRAM} -n '{condition}' -l {name[2:]}")
            else:
                lines.append(f"complete -c {PROGRAM} -n '{condition}' -a {name}")
    return "\n".join(lines) + "\n"
