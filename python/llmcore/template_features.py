"""What a chat template asks of its environment, checked before it runs for the first time."""

from __future__ import annotations

from collections.abc import Iterator, Set

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

# There are no other files that they could take from.
_LOADING = (nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)


def check_features(environment: Environment, template: nodes.Template, variables: Set[str]) -> set[str]:
    """The names a template takes from outside; `variables` are those every rendering gets.

    Raises TemplateSyntaxError, with the line, for what only a rendering would find missing: Jinja itself
    leaves filters and tests inside of conditions, functions and other templates until then.
    """
    for node in template.find_all(nodes.Node):
        if isinstance(node, _LOADING):
            _refuse(f"{type(node).__name__.lower()}: there are no other templates", node)
        if isinstance(node, nodes.Filter) and node.name not in environment.filters:
            _refuse(f"there is no filter {node.name!r}", node)
        if isinstance(node, nodes.Test) and node.name not in environment.tests:
            _refuse(f"there is no test {node.name!r}", node)
    names = find_undeclared_variables(template)
    unknown = names - variables - set(environment.globals) - set(_names_tested(template))
    for call in template.find_all(nodes.Call):
        # Loops' own functions and macros are declared; what a caller may pass is data.
        if isinstance(call.node, nodes.Name) and call.node.name in unknown:
            _refuse(f"there is no function {call.node.name!r}", call)
    return names


def _names_tested(template: nodes.Template) -> Iterator[str]:
    """Names of which the template asks whether they are there."""
    for test in template.find_all(nodes.Test):
        if test.name in ("defined", "undefined", "callable", "none") and isinstance(test.node, nodes.Name):
            yield test.node.name


def _refuse(what: str, node: nodes.Node) -> None:
    raise TemplateSyntaxError(what, node.lineno)
