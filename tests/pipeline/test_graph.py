"""A pipeline as a picture: what flows from where, and nothing that a name could do to it."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from svcctl.pipeline.dataflow import OPTIONAL, ORDER, Kind
from svcctl.pipeline.graph import START, Flow, dot, graph, mermaid
from svcctl.pipeline.step import Step, step
from svcctl.text import visible
from tests.support.logins import OURS, THEIRS

USUAL = [name for name in ORDER["auth"] if name not in OPTIONAL]


def usual(kind: Kind = "auth", where: Any = OURS) -> list[Step]:
    names = USUAL if kind == "auth" else ORDER[kind]
    return [Step(name, getattr(import_module(where[name]), name)) for name in names]


def test_what_flows_in_the_usual_pipeline() -> None:
    drawn = graph(usual(), kind="auth")
    assert [node.name for node in drawn.nodes] == USUAL
    flows = {
        (USUAL[flow.giver] if flow.giver != START else "", USUAL[flow.taker]): flow.keys
        for flow in drawn.flows
    }
    assert all(flow.sure for flow in drawn.flows)
    assert flows["", "social_details"] == ("details", "response")
    assert flows["social_names", "user_details"] == ("details",)
    assert flows["social_user", "create_user"] == ("user",)
    assert flows["get_username", "create_user"] == ("username",)
    assert flows["create_user", "associate_user"] == ("user",)
    assert flows["associate_user", "load_extra_data"] == ("social", "user")
    assert ("social_user", "load_extra_data") not in flows  # associate_user gave both since
    assert ("auth_allowed", "social_user") not in flows


def test_social_cores_own_steps_flow_like_ours() -> None:
    ours = {(flow.giver, flow.taker) for flow in graph(usual(), kind="auth").flows}
    theirs = {(flow.giver, flow.taker) for flow in graph(usual(where=THEIRS), kind="auth").flows}
    assert theirs == ours


def test_what_may_come_from_a_step_that_declares_nothing_is_a_guess() -> None:
    def load(**kwargs: Any) -> Any: ...

    def greet(user: Any, greeting: str, mood: str = "good") -> None: ...

    drawn = graph([Step("load", load), Step("greet", greet)], kind="auth")
    assert drawn.flows == (
        Flow(START, 1, ("user",), sure=True),
        Flow(0, 1, ("greeting",), sure=False),
    )


def test_the_disconnection_as_a_flowchart() -> None:
    assert (
        mermaid(graph(usual("disconnect"), kind="disconnect"))
        == """\
flowchart TD
    start(["start"])
    s0["allowed_to_disconnect"]
    s1["get_entries"]
    s2["revoke_tokens<br/>asks the provider to forget the access tokens"]
    s3["disconnect<br/>removes the associations"]
    start -->|"name, user, user_storage"| s0
    s0 --> s1
    s1 -->|"entries"| s2
    s2 --> s3
    start -.->|"name, user, user_storage"| s1
    start -.->|"user_storage"| s3
    s1 -.->|"entries"| s3
"""
    )


def test_the_disconnection_as_a_digraph() -> None:
    assert (
        dot(graph(usual("disconnect"), kind="disconnect"))
        == """\
digraph pipeline {
    node [shape="box"];
    start [shape="oval"];
    s0 [label="allowed_to_disconnect"];
    s1 [label="get_entries"];
    s2 [label="revoke_tokens\\nasks the provider to forget the access tokens"];
    s3 [label="disconnect\\nremoves the associations"];
    start -> s0 [label="name, user, user_storage"];
    s0 -> s1;
    s1 -> s2 [label="entries"];
    s2 -> s3;
    start -> s1 [label="name, user, user_storage", %s];
    start -> s3 [label="user_storage", %s];
    s1 -> s3 [label="entries", %s];
}
"""
        % (('style="dashed", constraint="false"',) * 3)
    )


def test_a_step_that_pauses_and_one_that_declares_nothing_look_different() -> None:
    @step(pauses=True)
    def ask(strategy: Any) -> Any: ...

    def own(**kwargs: Any) -> Any: ...

    drawn = graph([Step("ask", ask), Step("own", own)], kind="auth")
    assert '    s0{{"ask"}}\n    s1["own"]\n' in mermaid(drawn)
    assert "    style s1 stroke-dasharray: 5 5\n" in mermaid(drawn)
    assert '    s0 [label="ask", shape="hexagon"];\n    s1 [label="own", style="dashed"];\n' in (
        dot(drawn)
    )


def test_a_pipeline_without_steps() -> None:
    assert mermaid(graph([], kind="auth")) == 'flowchart TD\n    start(["start"])\n'


NASTY = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            'x"]\n    s0 --> s1',
            '`*bold*` & "<b>&lt;</b>" #35; #quot;',
            '%%{init: {"theme": "dark"}}%%',
            'click s0 "javascript:alert(1)"',
            '\\N \\G \\" \\n \\\\',
            "\u202e\u2028\x00\x1b[31m",
            "x" * 500,
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(NASTY, NASTY, NASTY)
def test_names_sentences_and_keys_of_others_are_text(name: str, effects: str, key: str) -> None:
    @step(produces=(key,), effects=effects)
    def first(**kwargs: Any) -> Any: ...

    @step(consumes=(key,))
    def second(**kwargs: Any) -> Any: ...

    drawn = graph([Step(name, first), Step("second", second)], kind="auth")
    wanted = "\n".join(_short(part) for part in (name, effects) if part)
    for draw, read in ((mermaid, _mermaid_text), (dot, _dot_text)):
        label, flow = _texts(draw(drawn), draw)
        assert read(label) == wanted
        assert read(flow) == _short(key)


def _texts(drawn: str, draw: Callable[..., str]) -> Sequence[str]:
    """The label of the first step, and of what flows out of it; the rest is exactly ours."""
    lines = drawn.splitlines()
    # Entities only: nothing between the quotation marks could end them.
    inside = r'((?:[^"\\]|\\["\\n])*)' if draw is dot else r'([^"]*)'
    if draw is dot:
        patterns = [
            r"digraph pipeline \{",
            r'    node \[shape="box"\];',
            r'    start \[shape="oval"\];',
            rf'    s0 \[label="{inside}"\];',
            r'    s1 \[label="second"\];',
            r"    start -> s0;",
            rf'    s0 -> s1 \[label="{inside}"\];',
            r"\}",
        ]
    else:
        patterns = [
            r"flowchart TD",
            r'    start\(\["start"\]\)',
            rf'    s0\["{inside}"\]',
            r'    s1\["second"\]',
            r"    start --> s0",
            rf'    s0 -->\|"{inside}"\| s1',
        ]
    assert len(lines) == len(patterns)
    found = [re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=True)]
    assert all(found), drawn
    return [group for match in found if match for group in match.groups()]


def _mermaid_text(text: str) -> str:
    text = text.replace("<br/>", "\n")
    assert not set(text) & set("\"`<>&[]{}|%\\'")
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), text)


def _dot_text(text: str) -> str:
    text = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
    return text.replace("&amp;", "&")


def _short(text: str) -> str:
    text = visible(text)
    return text if len(text) <= 200 else f"{text[:199]}…"
