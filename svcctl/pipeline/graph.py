"""A pipeline as a picture, for Mermaid or Graphviz: its steps, and what flows between them.

Names and sentences are those of whoever wrote a step: in both languages they are text, not markup.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from svcctl.pipeline.dataflow import Kind, Part, part_of
from svcctl.pipeline.definition import INITIAL
from svcctl.pipeline.step import SURROUNDINGS, Step
from svcctl.text import visible

START = -1
"""The place of what is there before the first step."""

_LONGEST = 200
_INERT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:()-/")


@dataclass(frozen=True, slots=True)
class Node:
    """A step. declared: whether it says what it gives; what flows out of another is a guess."""

    name: str
    effects: str
    pauses: bool
    declared: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """The keys that the step at one place takes from the one at another. sure: not a guess."""

    giver: int
    taker: int
    keys: tuple[str, ...]
    sure: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps in order, and what flows between them."""

    nodes: tuple[Node, ...]
    flows: tuple[Flow, ...]


def graph(steps: Iterable[Step], *, kind: Kind) -> Graph:
    """The graph of a pipeline. What several steps give flows from the last of them.

    Raises ValueError for a function whose parameters nobody can tell, such as some in C.
    """
    parts = [part_of(step, {}) for step in steps]
    nodes = (
        Node(part.name, part.declaration.effects, part.pauses, part.declared) for part in parts
    )
    return Graph(tuple(nodes), tuple(_flows(parts, kind)))


def mermaid(graph: Graph) -> str:
    """A flowchart for https://mermaid.js.org/, as Markdown on many sites shows it."""
    lines = ["flowchart TD", '    start(["start"])']
    for place, node in enumerate(graph.nodes):
        text = "<br/>".join(_entities(part) for part in (node.name, node.effects) if part)
        lines.append(f'    s{place}{{{{"{text}"}}}}' if node.pauses else f'    s{place}["{text}"]')
    for giver, taker, keys, sure in _edges(graph):
        arrow = "-->" if taker == giver + 1 and sure else "-.->"
        label = f'|"{_entities(", ".join(keys))}"|' if keys else ""
        lines.append(f"    {_id(giver)} {arrow}{label} {_id(taker)}")
    for place, node in enumerate(graph.nodes):
        if not node.declared:
            lines.append(f"    style s{place} stroke-dasharray: 5 5")
    return "\n".join(lines) + "\n"


def dot(graph: Graph) -> str:
    """A digraph for Graphviz (https://graphviz.org/doc/info/lang.html)."""
    lines = ["digraph pipeline {", '    node [shape="box"];', '    start [shape="oval"];']
    for place, node in enumerate(graph.nodes):
        text = "\\n".join(_escaped(part) for part in (node.name, node.effects) if part)
        shape = ', shape="hexagon"' if node.pauses else ""
        style = "" if node.declared else ', style="dashed"'
        lines.append(f'    s{place} [label="{text}"{shape}{style}];')
    for giver, taker, keys, sure in _edges(graph):
        words = [f'label="{_escaped(", ".join(keys))}"'] if keys else []
        if taker != giver + 1 or not sure:
            words += ['style="dashed"', 'constraint="false"']
        attributes = f" [{', '.join(words)}]" if words else ""
        lines.append(f"    {_id(giver)} -> {_id(taker)}{attributes};")
    return "\n".join([*lines, "}"]) + "\n"


def _flows(parts: Sequence[Part], kind: Kind) -> Iterator[Flow]:
    given = dict.fromkeys(INITIAL[kind], START)
    guess: int | None = None
    for place, part in enumerate(parts):
        taken: dict[int, list[str]] = {}
        guessed: list[str] = []
        for key in sorted((part.step.named | part.declaration.consumes) - SURROUNDINGS):
            if key in given:
                taken.setdefault(given[key], []).append(key)
            elif key in part.step.required and guess is not None:
                guessed.append(key)
        for giver, keys in sorted(taken.items()):
            yield Flow(giver, place, tuple(keys), sure=True)
        if guess is not None and guessed:
            yield Flow(guess, place, tuple(guessed), sure=False)
        given |= dict.fromkeys(part.declaration.produces, place)
        if not part.declared:
            guess = place


def _edges(graph: Graph) -> Iterator[tuple[int, int, tuple[str, ...], bool]]:
    """Each step to the next, with what flows, then what flows further."""
    flows = {(flow.giver, flow.taker): flow for flow in graph.flows if flow.sure}
    for place in range(len(graph.nodes)):
        near = flows.pop((place - 1, place), None)
        yield place - 1, place, near.keys if near else (), True
    for flow in graph.flows:
        if not flow.sure or (flow.giver, flow.taker) in flows:
            yield flow.giver, flow.taker, flow.keys, flow.sure


def _id(place: int) -> str:
    return "start" if place == START else f"s{place}"


def _shown(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _entities(text: str) -> str:
    """Text in quotation marks for Mermaid, whose entities are decimal and without an ampersand."""
    return "".join(char if char in _INERT else f"#{ord(char)};" for char in _shown(text))


def _escaped(text: str) -> str:
    """Text in quotation marks for Graphviz, which reads HTML's entities and its own escapes."""
    return _shown(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
