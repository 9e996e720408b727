"""YAML as plain values that know their lines: one document, no tags, no repeated keys, bounded in size and depth.

Scalars are read as YAML 1.2 defines them, so that `NO` is a text, and a date stays as it is written.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from airflow_provider_lakehouse.core.errors import InvalidRequestError

type Path = tuple[str | int, ...]
MAX_CHARACTERS: Final = 4 * 1024 * 1024
MAX_VALUES: Final = 200_000
"""Values of one document, those that aliases repeat included."""
MAX_DEPTH: Final = 50
MAX_NUMBER: Final = 1e300
_CORE: Final = "tag:yaml.org,2002:"
_RESOLVED: Final = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")),
    ("float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"), list("-+.0123456789")),
)

_BREAKS: Final = re.compile("[\r\x85\u2028\u2029]")


@dataclass(frozen=True)
class Document:
    """A document.

    Args:
        value: Mappings, lists, texts, numbers, booleans and nulls.
        lines: Line of each key and each element by its path, from 1.
    """

    value: Any
    lines: dict[Path, int]

    def line_of(self, path: Path) -> int:
        """Return where something stands; of what is not there, where its surroundings start."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(text: str, *, source: str) -> Document:
    r"""Read one document.

    Args:
        text: YAML.
        source: Where it comes from, for messages.

    Raises:
        InvalidRequestError: It is not YAML, or more than plain values; the error names file, line and reason.

    Example:
        >>> document = read_document("country: NO\nsince: 2017-01-01", source="x.yaml")
        >>> document.value, document.line_of(("since",))
        ({'country': 'NO', 'since': '2017-01-01'}, 2)
    """
    if len(text) > MAX_CHARACTERS:
        raise refusal(f"the file is longer than {MAX_CHARACTERS:,} characters", source=source, line=1)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "it is not YAML"
        raise refusal(reason, source=source, line=mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise refusal("a character that YAML does not allow", source=source, line=line) from error
    if node is None:
        raise refusal("the file is empty", source=source, line=1)
    reading = _Reading(source, {})
    return Document(reading.value(node, ()), reading.lines)


def write_document(value: Any) -> str:  # noqa: ANN401
    """Write plain values so that readers of YAML 1.1 and 1.2 read the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def refusal(reason: str, *, source: str, line: int) -> InvalidRequestError:
    """Return the error for a file that cannot be read."""
    return InvalidRequestError(
        f"The file cannot be read: {reason}. Correct it at the line.", file=source, line=line, reason=reason
    )


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="tags are not allowed", problem_mark=event.start_mark)
        if self._depth == MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        # Other line breaks than "\n" become one between other quotes.
        style = '"' if _BREAKS.search(data) else None
        return self.represent_scalar(f"{_CORE}str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _tag, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}", _pattern, _first)
    # A text that either version would read as something else is quoted.
    _Dumper.add_implicit_resolver(f"{_CORE}{_tag}", _pattern, _first)


@dataclass
class _Reading:
    source: str
    lines: dict[Path, int]
    values: int = 0

    def value(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401
        self.values += 1
        line = node.start_mark.line + 1
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise refusal("it holds too much; aliases may repeat it", source=self.source, line=line)
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, place)) for place, child in enumerate(node.value)]
        return self._scalar(node.tag.removeprefix(_CORE), node.value, line)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_CORE}str" or key.value == "<<":
                raise refusal("a key is not a plain text", source=self.source, line=line)
            if key.value in found:
                raise refusal(f"the key {key.value!r} stands twice", source=self.source, line=line)
            self.lines[(*path, key.value)] = line
            found[key.value] = self.value(child, (*path, key.value))
        return found

    def _scalar(self, kind: str, text: str, line: int) -> Any:  # noqa: ANN401
        if kind in ("null", "bool"):
            return None if kind == "null" else text.lower() == "true"
        if kind not in ("int", "float"):
            return text
        try:
            number = _whole(text) if kind == "int" else float(text)
        except ValueError:  # more digits than Python reads
            number = math.inf
        if not abs(number) < MAX_NUMBER:
            raise refusal("a number is too large", source=self.source, line=line)
        return number


def _whole(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)
