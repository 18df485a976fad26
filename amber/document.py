"""Small YAML documents of users, read with checks.

A key that is given twice is a mistake instead of a silent overwrite. Depth and size are limited, with aliases counted
in full, because later readers follow them.
"""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 40  # levels
LARGEST = 1 << 20  # characters
MOST_VALUES = 100_000
LONGEST_NUMBER = 1024  # bits, as for a float


class DocumentError(ValueError):
    """A document that can't be read; the message says why."""


def parse(text: str) -> Any:
    """Read YAML.

    Raises
    ------
    DocumentError
        If it is not valid, contains invalid text, or exceeds a limit.

    """
    if len(text) > LARGEST:
        raise DocumentError(f"over {LARGEST:,} characters")
    try:
        data = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DocumentError(f"not valid YAML{line}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(f"not valid YAML: {error.reason}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError, LookupError, AttributeError) as error:
        # Values that look like dates or numbers but are not, such as 2024-13-45.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DocumentError(f"not valid YAML: {reason[:160]}") from None
    _measure(data, 1, {}, set())
    return data


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.level = getattr(self, "level", 0) + 1
        if self.level > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels deep", problem_mark=self.get_mark())
        node: yaml.Node | None = super().compose_node(parent, index)
        self.level -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        try:
            seen: set[Any] = set()
            twice = [key for key in keys if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        except TypeError:
            raise yaml.MarkedYAMLError(problem="a key must be one value", problem_mark=node.start_mark) from None
        if twice:
            raise yaml.MarkedYAMLError(problem=f"key {twice[0]!r} is given twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _measure(value: Any, level: int, sizes: dict[int, int], above: set[int]) -> int:
    """Return the number of values in a document, aliases counted in full; DocumentError if it exceeds a limit.

    `sizes` are the known sizes of containers by identity, `above` the identities of those that contain `value`.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise DocumentError("a text holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DocumentError(f"a text that is not UTF-8: {value[:60]!r}") from None
        return 1
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise DocumentError(f"a number of over {LONGEST_NUMBER:,} bits")
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in above or level > DEEPEST:
        raise DocumentError("holds itself" if id(value) in above else f"more than {DEEPEST} levels deep")
    if id(value) not in sizes:
        above.add(id(value))
        inside = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
        sizes[id(value)] = 1 + sum(_measure(item, level + 1, sizes, above) for item in inside)
        above.discard(id(value))
    if sizes[id(value)] > MOST_VALUES:
        raise DocumentError(f"over {MOST_VALUES:,} values")
    return sizes[id(value)]
