"""Which values share a grid, because what lies between only moves or clips integers."""

from dataclasses import dataclass, field

from espalier.export.graph import (
    Activation,
    Add,
    Affine,
    Argmax,
    Convolution,
    Flatten,
    Graph,
    Layer,
    Linear,
    Node,
    Pool,
    Softmax,
)

__all__ = ["Group", "groups_of", "moves_only"]


@dataclass(slots=True, eq=False)
class Group:
    """Values on one grid."""

    root: str
    """The value that the others are made of."""
    values: list[str]
    taken_in: Node | None = None
    """The rectifier that the root's own layer does, by where its grid ends."""
    readers: list[Node] = field(default_factory=list)
    """What computes with a value, not just moves it."""

    @property
    def shown(self) -> str:
        """The value whose spread decides the grid."""
        return self.root if self.taken_in is None else self.taken_in.output.name

    @property
    def head(self) -> bool:
        """Whether nothing but the network's end reads it."""
        return all(isinstance(node.layer, Softmax | Argmax) for node in self.readers)


def moves_only(layer: Layer) -> bool:
    """Whether a layer only moves, or chooses among, what it reads."""
    return isinstance(layer, Flatten) or (isinstance(layer, Pool) and layer.kind == "max")


def groups_of(graph: Graph) -> dict[str, Group]:
    """Return the group of every value, by the value's name."""
    users = graph.users()
    found: dict[str, Group] = {graph.input.name: Group(graph.input.name, [graph.input.name])}
    taken_in = _taken_in(graph, users)
    for node in graph.nodes:
        name = node.output.name
        if moves_only(node.layer) or node.name in taken_in:
            group = found[node.inputs[0]]
            group.values.append(name)
            if node.name in taken_in:
                group.taken_in = node
        else:
            for source in node.inputs:
                found[source].readers.append(node)
            group = Group(name, [name])
        found[name] = group
    return found


def _taken_in(graph: Graph, users: dict[str, list[Node]]) -> set[str]:
    """Name the rectifiers that the layer before them does too.

    Between the two may lie what moves only, and nobody else may read what is not rectified yet.
    """
    makers = {node.output.name: node for node in graph.nodes}
    found: set[str] = set()
    rectified: set[str] = set()
    """Values that a rectifier was taken into already."""
    for node in graph.nodes:
        if not isinstance(node.layer, Activation) or node.layer.kind not in ("relu", "relu6"):
            continue
        name = node.inputs[0]
        while _only_for_one(graph, users, name) and name in makers:
            maker = makers[name]
            if moves_only(maker.layer):
                name = maker.inputs[0]
                continue
            able = isinstance(maker.layer, Convolution | Linear | Affine | Add)
            if able and maker.name not in rectified:
                rectified.add(maker.name)
                found.add(node.name)
            break
    return found


def _only_for_one(graph: Graph, users: dict[str, list[Node]], name: str) -> bool:
    return len(users[name]) == 1 and name != graph.output.name
