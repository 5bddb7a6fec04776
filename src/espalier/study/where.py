"""``bits==4 and gamma>=0.5``: a condition over a run's settings. Nothing is executed."""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from espalier.errors import ConfigError, nearest
from espalier.records import RunSpec, settings

__all__ = ["Condition", "matching"]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}
_CONSTANTS = {"true": True, "false": False, "none": None}
_ALLOWED = "comparisons of settings with values, joined by and, or, not"


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition; :meth:`holds` asks it of a run's settings.

    Raises:
        ConfigError: not an expression, or something else than comparisons.

    Example:
        >>> Condition("bits == 4 and not gamma < 0.5").holds({"bits": 4, "gamma": 0.5})
        True
    """

    text: str

    def __post_init__(self) -> None:
        """Check the whole text, so that no part of it is a surprise later."""
        _check(_parse(self.text))

    def require_known(self, known: Collection[str]) -> None:
        """Refuse names that are none of the settings.

        Raises:
            ConfigError: names the first of them, and the nearest setting.
        """
        for name in _names(_parse(self.text)):
            if name not in known and name.lower() not in _CONSTANTS:
                raise ConfigError(f"there is no setting '{name}'.{nearest(name, sorted(known))}")

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Say whether the condition holds for these settings; one that is missing is none.

        Raises:
            ConfigError: it compares what can't be compared.
        """
        return bool(_value(_parse(self.text), values))


def matching(specs: Mapping[str, RunSpec], text: str, *, what: str) -> dict[str, RunSpec]:
    """Return the cells for which a condition holds.

    Args:
        specs: run id -> spec.
        text: the condition.
        what: how messages call it, for instance ``--where``.

    Raises:
        ConfigError: the condition is not one, or matches nothing.
    """
    named = {name: settings(spec) for name, spec in specs.items()}
    known = {setting for values in named.values() for setting in values}
    try:
        condition = Condition(text)
        condition.require_known(known)
        found = {name: specs[name] for name, values in named.items() if condition.holds(values)}
    except ConfigError as error:
        raise ConfigError(f"{what} {text!r}: {error}") from error
    if not found:
        raise ConfigError(f"{what} {text!r} matches none of the {len(specs)} cells.")
    return found


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"not a condition; expected {_ALLOWED}.") from error


def _check(node: ast.expr) -> None:
    """Refuse whatever is no part of the small language."""
    match node:
        case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                _check(part)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            _check(operand)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(
            type(op) in _COMPARE for op in ops
        ):
            for part in (left, *others):
                _check(part)
        case ast.Name() | ast.Attribute(value=ast.Name()):
            pass
        case ast.Constant(value=bool() | int() | float() | str() | None):
            pass
        case _:
            raise ConfigError(
                f"'{ast.unparse(node)}' can't be part of a condition; expected {_ALLOWED}."
            )


def _names(node: ast.expr) -> list[str]:
    """Return the settings that a condition names; an option of the network has a dot."""
    if isinstance(node, ast.Name | ast.Attribute):
        return [ast.unparse(node)]
    parts = (part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
    return [name for part in parts for name in _names(part)]


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, values)

    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(of(part) for part in parts)
        case ast.BoolOp(values=parts):
            return any(of(part) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not of(operand)
        case ast.UnaryOp(operand=operand):
            return _negative(of(operand))
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [of(part) for part in (left, *others)]
            pairs = zip(ops, sides, sides[1:], strict=False)
            return all(_compare(op, one, other) for op, one, other in pairs)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [of(part) for part in parts]
        case ast.Constant(value=value):
            return value
        case _:
            name = ast.unparse(node)
            return values[name] if name in values else _CONSTANTS.get(name.lower())


def _negative(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"-{value!r}: expected a number.")
    return -value


def _compare(op: ast.cmpop, one: Any, other: Any) -> bool:
    if (one is None or other is None) and not isinstance(op, ast.Eq | ast.NotEq):
        return False
    try:
        return _COMPARE[type(op)](one, other)
    except TypeError as error:
        raise ConfigError(f"{one!r} and {other!r} can't be compared.") from error
