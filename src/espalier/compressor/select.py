"""Which parameters are compressed by what: rules, and a reason for each one left dense."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import Parameter
from torch.optim.swa_utils import AveragedModel

from espalier.errors import ConfigError, SelectionError, nearest
from espalier.ops import Operator

__all__ = ["Rule", "Selection", "rules_of", "select"]

NORMALIZATION = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
)
"""Modules whose parameters stay dense unless a rule names their type."""

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)
_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Compress the parameters that match by an operator; the first rule that matches decides.

    Example:
        >>> from espalier.ops import PruneThenQuantize
        >>> rules = [
        ...     Rule(name="fc1.*", operator=PruneThenQuantize(gamma=0.75, bits=3)),
        ...     Rule(name="fc4.*", operator=None),
        ...     Rule(operator=PruneThenQuantize(gamma=0.375, bits=8)),
        ... ]
    """

    operator: Operator | None
    """What to do with them, as one set; None leaves them dense."""
    name: str = "*"
    """Pattern of the parameter's name, as in a shell: ``features.*.weight``. Wrappers such as
    ``DistributedDataParallel`` and ``torch.compile`` add nothing to names."""
    modules: tuple[type[nn.Module], ...] = ()
    """Types of the module that owns the parameter; empty means all but normalization. A tied
    parameter has several owners and names, and matches by any."""
    biases: bool = True
    """Whether biases match: parameters called ``bias`` or, as in torch's recurrent and attention
    modules, ``bias_ih_l0`` or ``in_proj_bias``."""
    allow_empty: bool = False
    """Whether it is fine that nothing matches."""
    per_layer: bool = False
    """Whether each module's parameters are a set of their own, and not all that match one set: what
    an operator takes jointly is then kernel and bias of a layer."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A parameter, once, however many names it has."""

    parameter: Parameter
    places: tuple[tuple[str, nn.Module], ...]
    """Each name with the module that owns it there; the first one speaks for it."""

    @property
    def name(self) -> str:
        """Its first name."""
        return self.places[0][0]


@dataclass(frozen=True, slots=True)
class Selection:
    """Every parameter of a model, compressed by a rule or left dense for a reason."""

    groups: list[tuple[Operator, dict[str, Parameter]]] = field(default_factory=list)
    """For each set, its operator and its parameters by name."""
    dense: dict[str, tuple[Parameter, str]] = field(default_factory=dict)
    """The others, each with the reason."""


def rules_of(operator: Operator | Sequence[Rule]) -> list[Rule]:
    """Return rules as they are, and an operator as the rule for all parameters.

    Raises:
        ConfigError: it is neither of them.
    """
    if isinstance(operator, Operator):
        return [Rule(operator=operator)]
    if not isinstance(operator, Sequence) or not all(isinstance(rule, Rule) for rule in operator):
        raise ConfigError(
            f"operator is {operator!r}; give one, such as PruneThenQuantize(gamma=0.375, bits=8), "
            "or a list of rules."
        )
    return list(operator)


def select(
    model: nn.Module, rules: Sequence[Rule], *, updated: Sequence[Parameter] | None = None
) -> Selection:
    """Give each parameter of the model to the first rule that matches it.

    Args:
        model: any module, wrapped or not; tied parameters count once, under their first name.
        rules: in order of precedence.
        updated: the parameters that an optimizer updates; None means all.

    Raises:
        SelectionError: a rule matches nothing, or nothing is left to compress.
    """
    candidates = parameters(model)
    if not candidates:
        raise SelectionError("the model has no parameters; attach after it has been built.")
    updated_ids = None if updated is None else {id(p) for p in updated}
    selection, chosen = Selection(), [dict[str, Parameter]() for _ in rules]
    for candidate in candidates:
        index, reason = _decide(candidate, rules, updated_ids)
        if reason is None and index is not None:
            chosen[index][candidate.name] = candidate.parameter
        else:
            selection.dense[candidate.name] = (candidate.parameter, reason or "")
    _refuse_idle_rules(rules, candidates)
    for rule, members in zip(rules, chosen, strict=True):
        if rule.operator is not None and members:
            sets = _by_layer(members) if rule.per_layer else [members]
            selection.groups.extend((rule.operator, one) for one in sets)
    if not selection.groups:
        reasons = sorted({reason for _, reason in selection.dense.values()})
        raise SelectionError(
            f"no parameter is left to compress: {'; '.join(reasons)}. Name the modules in a rule, "
            "and pass the optimizer that updates this model."
        )
    return selection


def _by_layer(members: dict[str, Parameter]) -> list[dict[str, Parameter]]:
    """Return the parameters of each module, by the first name of each."""
    layers: dict[str, dict[str, Parameter]] = {}
    for name, parameter in members.items():
        layers.setdefault(name.rpartition(".")[0], {})[name] = parameter
    return list(layers.values())


def parameters(model: nn.Module) -> list[Candidate]:
    """Return each parameter once, under its first name without the prefixes of wrappers."""
    found: dict[int, Candidate] = {}
    for name, parameter, owner in _walk(model, ""):
        known = found.get(id(parameter))
        places = (*(known.places if known else ()), (name, owner))
        found[id(parameter)] = Candidate(parameter, places)
    return list(found.values())


def _walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, Parameter, nn.Module]]:
    for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
        yield prefix + name, parameter, module
    for name, child in module._modules.items():  # named_children() hides a second name
        transparent = name in _WRAPPED or (name == "module" and isinstance(module, _WRAPPERS))
        if child is not None:
            yield from _walk(child, prefix if transparent else f"{prefix}{name}.")


def _decide(
    candidate: Candidate, rules: Sequence[Rule], updated: set[int] | None
) -> tuple[int | None, str | None]:
    """Return the rule that compresses a parameter, or the reason why none does."""
    mismatches = []
    for i, rule in enumerate(rules):
        mismatch = _mismatch(candidate, rule)
        if mismatch:
            mismatches.append(mismatch)
        elif rule.operator is None:
            return None, f"rule '{rule.name}' leaves it dense"
        else:
            return i, _unfit(candidate.parameter, updated)
    return None, next((m for m in mismatches if m != _OTHER), _OTHER)


_OTHER = "no rule matches it"
_BIAS = re.compile(r"(^|[._])bias(_[^.]*)?$")  # bias, bias_ih_l0, in_proj_bias


def _mismatch(candidate: Candidate, rule: Rule) -> str | None:
    """Say why a rule does not match a parameter under any of its names; None where it does."""
    reasons = [_mismatch_at(name, owner, rule) for name, owner in candidate.places]
    return None if None in reasons else next((r for r in reasons if r != _OTHER), _OTHER)


def _mismatch_at(name: str, owner: nn.Module, rule: Rule) -> str | None:
    if not fnmatchcase(name, rule.name):
        return _OTHER
    if rule.modules:
        if not isinstance(owner, rule.modules):
            return _OTHER
    elif rule.operator is not None and isinstance(owner, NORMALIZATION):
        return "it belongs to a normalization"
    if not rule.biases and _BIAS.search(name):
        return "it is a bias, which the rule leaves out"
    return None


def _unfit(parameter: Parameter, updated: set[int] | None) -> str | None:
    if not parameter.is_floating_point():
        return f"it is {parameter.dtype}, not floating point"
    if not parameter.requires_grad:
        return "it is frozen: requires_grad is False"
    if updated is not None and id(parameter) not in updated:
        return "the optimizer does not update it"
    return None


def _refuse_idle_rules(rules: Sequence[Rule], candidates: Sequence[Candidate]) -> None:
    names = [candidate.name for candidate in candidates]
    for rule in rules:
        reasons = {candidate.name: _mismatch(candidate, rule) for candidate in candidates}
        if None in reasons.values() or rule.allow_empty:
            continue
        near = [f"{n} would, but {r}" for n, r in reasons.items() if r != _OTHER]
        hint = f" {near[0]}." if near else nearest(rule.name, names)
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        of = f" of {', '.join(m.__name__ for m in rule.modules)}" if rule.modules else ""
        raise SelectionError(
            f"rule '{rule.name}'{of} matches no parameter; the model has {shown}."
            f"{hint} Check the pattern, or pass allow_empty=True."
        )
