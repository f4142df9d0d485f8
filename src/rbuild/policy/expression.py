"""Rules of a project's own: CEL expressions that are true of what is allowed.

They are compiled, with their messages and hints, when a policy is loaded, against the types of what they
may look at (`rbuild.policy.cel.inputs`); every mistake is a problem of the policy's file. An expression reads
nothing but these values: it has no files, no network, no environment and no functions with effects. Its time
and memory are bounded (`rbuild.policy.cel.bounds`). What cannot be evaluated is a violation: of a rule that
could not be held against something, nobody knows that it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from rbuild.errors import Problem, RbuildError
from rbuild.policy.cel import bounds
from rbuild.policy.cel.inputs import EACH, TYPES, VARIABLES, Field, there, variables
from rbuild.policy.cel.values import Facts, Item, Sources, file_item
from rbuild.policy.facts import FileEntry, ImageFacts
from rbuild.policy.model import Moment, Violation
from rbuild.policy.policyfile import OwnRule, Policy
from rbuild.policy.rule import Watcher
from rbuild.suggest import did_you_mean

_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_MISTAKE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_NAMED = re.compile(
    r"undeclared reference to '([^']*)'|undefined field '([^']*)' not found in struct '([^']*)'"
)
_SHOWN: Final = ("STRING", "INT", "UINT", "DOUBLE", "BOOL", "TIMESTAMP", "DURATION")
_LONGEST_VALUE: Final = 200  # characters of a value in a message
_LONGEST_TEMPLATE: Final = 2_000
_MOST: Final = 1_000  # violations of one rule in one stage; that there are more is one more
_MOST_MISTAKES: Final = 5  # of one expression
_FILES: Final = "image.files"
_INSTALL: Final = "pip install 'rbuild[cel]'"


class _Failed(Exception):
    """An expression that could not be evaluated, and why."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """An expression with the variables that it names; `run` gives its value."""

    program: Any
    tree: Any
    names: frozenset[str]

    def run(self, values: Mapping[str, Any]) -> Any:
        """Raises _Failed."""
        try:
            result = self.program.eval(data={name: values[name] for name in self.names})
        except (RuntimeError, ValueError) as error:
            raise _Failed(_reason(str(error))) from None
        if result.type().name() in ("ERROR", "UNKNOWN"):
            raise _Failed(_reason(str(result.value())))
        return result.value()


def _reason(said: str) -> str:
    """What the library said, without its codes."""
    text = said.split("\n", 1)[0]
    text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", text)
    if "Iteration budget" in text:
        return f"it goes more than {bounds.ROUNDS:,} rounds"
    return text[:1].lower() + text[1:400]


@dataclass(frozen=True, slots=True)
class _Template:
    """A text with expressions in it."""

    parts: tuple[str | _Compiled, ...]

    def filled(self, values: Mapping[str, Any]) -> str:
        return "".join(part if isinstance(part, str) else _shown(part, values) for part in self.parts)


def _shown(part: _Compiled, values: Mapping[str, Any]) -> str:
    try:
        value = part.run(values)
    except _Failed as failed:
        return f"({failed})"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = " ".join(text[: 2 * _LONGEST_VALUE].split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


@dataclass(frozen=True, slots=True)
class OwnCheck:
    """A rule of a project's own, ready to be held against facts."""

    rule: OwnRule
    expression: _Compiled
    message: _Template
    hint: _Template

    @property
    def watches(self) -> bool:
        """Whether it looks at the files of an image one by one: `watcher`, and not `violations`."""
        return self.rule.each == _FILES

    @property
    def asks_the_time(self) -> bool:
        """Whether what it finds depends on when it is asked."""
        return any("now" in part.names for part in _parts(self))

    def violations(self, facts: Facts) -> Iterator[Violation]:
        """What breaks the rule. `facts` are those of the rule's moment; not for a rule that watches."""
        judge = _Judge(self, Sources(facts))
        if self.rule.each is None:
            yield from judge.look(None)
            return
        for item in judge.sources.items(self.rule.each):
            yield from judge.look(item)
            if judge.ended:
                return

    def watcher(self, facts: ImageFacts) -> Watcher:
        """Looks at every file of the image, layer by layer; for a rule that watches."""
        return _FileWatcher(_Judge(self, Sources(facts)))


class _Judge:
    """One rule and one stage: evaluates within what is allowed for both together."""

    def __init__(self, check: OwnCheck, sources: Sources) -> None:
        self.sources = sources
        self.ended = False
        self._check = check
        named = {name for part in _parts(check) for name in part.names} - {"item"}
        known = {field.name: field for field in VARIABLES}
        self._values = {name: sources.value(name) for name in sorted(named)}
        self._sizes = {name: bounds.measured(value, known[name]) for name, value in self._values.items()}
        self._steps = 0
        self._found = 0
        self._known: dict[tuple[int, int], bounds.Cost] = {}

    def look(self, item: Item | None) -> Iterator[Violation]:
        """Evaluate for one item (None: for the stage), and say what is wrong."""
        if self.ended:
            return
        where = item.where if item else self.sources.files.at(None)
        text = item.text if item else ""
        values = {**self._values, "item": item.value} if item else self._values
        try:
            self._spend(item)
            if self._check.expression.run(values) is True:
                return
            message, hint = self._check.message.filled(values), self._check.hint.filled(values)
        except _Failed as failed:
            message = f"the rule {self._check.rule.name} could not be evaluated: {failed}"
            hint = f"what cannot be evaluated counts as not allowed; {_better(self._check.rule, str(failed))}"
        self._found += 1
        if self._found > _MOST:
            self.ended = True
            message = (
                f"the rule {self._check.rule.name} is broken more than {_MOST:,} times; the rest is left out"
            )
        yield Violation(message=message, where=where, text=text, hint=hint)

    def _spend(self, item: Item | None) -> None:
        """Raises _Failed when the evaluation could take too much; when time is the matter, for good."""
        cost = self._cost(item)
        self._steps += cost.steps
        if self._steps > bounds.MAX_STEPS:
            self.ended = True
            raise _Failed("it takes too many steps over what it looks at")
        if cost.memory > bounds.MAX_MEMORY:
            raise _Failed(f"it could need {cost.memory / 1e6:,.0f} MB of memory")

    def _cost(self, item: Item | None) -> bounds.Cost:
        if item is None:
            return _cost(self._check, self._sizes)
        value, kind = item.value, item.value.DESCRIPTOR.name
        if kind != "File" or value.xattrs:
            return self._cost_of(bounds.measured(value, Field("item", kind, "")))
        # Many files, and few kinds of them: those whose names are about as long cost the same.
        key = (len(value.path) // 64, len(value.link) // 64)
        if key not in self._known:
            texts = {
                name: bounds.Size(256 * (length + 1))
                for name, length in zip(("path", "link"), key, strict=True)
            }
            self._known[key] = self._cost_of(bounds.Size(fields={**texts, "kind": bounds.Size(9)}))
        return self._known[key]

    def _cost_of(self, item: bounds.Size) -> bounds.Cost:
        return _cost(self._check, {**self._sizes, "item": item})


def _better(rule: OwnRule, failed: str) -> str:
    large = any(word in failed for word in ("rounds", "memory", "steps"))
    return _SMALLER if large and rule.each is None else "mend the expression"


class _FileWatcher:
    """Holds a rule against each file of an image."""

    def __init__(self, judge: _Judge) -> None:
        self._judge = judge
        self._found: list[Violation] = []

    def wants(self, entry: FileEntry) -> int:
        return 0

    def see(self, entry: FileEntry, content: bytes) -> None:
        if not self._judge.ended:
            made = entry.instruction
            where = self._judge.sources.files.at(made.line if made else None)
            path = entry.path.encode(errors="backslashreplace").decode()
            self._found += self._judge.look(Item(file_item(entry), where, f"/{path}"))

    def violations(self) -> Iterable[Violation]:
        return self._found


def _parts(check: OwnCheck) -> Iterator[_Compiled]:
    yield check.expression
    for template in (check.message, check.hint):
        yield from (part for part in template.parts if not isinstance(part, str))


def _cost(check: OwnCheck, sizes: Mapping[str, bounds.Size]) -> bounds.Cost:
    whole = bounds.Cost()
    for part in _parts(check):
        cost = bounds.cost_of(part.tree, sizes)
        whole.memory += cost.memory
        whole.steps += cost.steps + bounds.EVALUATION
    return whole


def compile_own(policies: Iterable[Policy]) -> Mapping[str, OwnCheck]:
    """The own rules of policies, ready to be checked, by `POLICY/RULE` (which is also `Ask.key[0]`).

    Raises RbuildError with every problem of all of them: what does not parse, is no truth value, or names
    what is not there when the rule is checked. Without an own rule, nothing is imported.
    """
    checks: dict[str, OwnCheck] = {}
    problems: list[Problem] = []
    for policy in policies:
        if policy.own and not _installed():
            what = "a rule of the project's own needs the package cel-expr-python, which is not installed"
            problems.append(Problem(what=what, where=policy.own[0].where, hint=_INSTALL))
            continue
        for rule in policy.own:
            compiler = _Compiler(rule)
            check = compiler.check()
            problems += compiler.problems
            if check is not None:
                checks[f"{policy.name}/{rule.name}"] = check
    if problems:
        raise RbuildError(problems)
    return checks


def _installed() -> bool:
    return all(map(find_spec, ("cel_expr_python", "google"))) and find_spec("google.protobuf") is not None


class _Compiler:
    """Compiles one rule, and gathers what is wrong with it."""

    def __init__(self, rule: OwnRule) -> None:
        self.problems: list[Problem] = []
        self._rule = rule
        self._fields = variables(rule.moment)
        if rule.each:
            self._fields += (Field("item", EACH[rule.each][0], ""),)
        self._sizes = {one.name: bounds.nominal(one.kind, one.many) for one in self._fields}

    def check(self) -> OwnCheck | None:
        """The rule, or None where there are problems."""
        rule = self._rule
        if rule.each and not self._each_is_there(rule.each):
            return None
        expression = self._compiled(rule.expression, "expression", ("BOOL",))
        message, hint = self._template("message", rule.message), self._template("hint", rule.hint)
        if expression is None or self.problems:
            return None
        check = OwnCheck(rule, expression, message, hint)
        cost = _cost(check, self._sizes)
        if cost.memory > bounds.MAX_MEMORY or cost.steps > bounds.MAX_STEPS:
            self._problem("expression", "could take more time or memory than rbuild allows", _SMALLER)
            return None
        return check

    def _each_is_there(self, each: str) -> bool:
        moment = EACH[each][1]
        if there(moment, self._rule.moment) and (each != _FILES or self._rule.moment is Moment.IMAGE):
            return True
        said = f"{each} is not there with when: {self._rule.moment.value}"
        self._problem("each", said, f"when: {moment.value}")
        return False

    def _template(self, key: str, text: str) -> _Template:
        if len(text) > _LONGEST_TEMPLATE:
            self._problem(key, f"is longer than {_LONGEST_TEMPLATE:,} characters", None)
            return _Template(())
        parts: list[str | _Compiled] = []
        for at, part in enumerate(_TEMPLATE.split(text)):
            if at % 2 == 0:
                if "{{" in part or "}}" in part:
                    self._problem(key, "has braces {{ or }} without the others", "{{ EXPRESSION }}")
                parts.append(part)
            elif (compiled := self._compiled(part.strip(), key, _SHOWN)) is not None:
                parts.append(compiled)
        return _Template(tuple(parts))

    def _compiled(self, text: str, key: str, wanted: tuple[str, ...]) -> _Compiled | None:
        try:
            program = _environment(self._fields).compile(text)
            kind = program.return_type().name()
            if kind not in wanted:
                expected = "bool, true of what is allowed," if key == "expression" else "a text or a number"
                self._problem(key, f"is of the type {kind.lower()}; {expected} is expected", None)
                return None
            tree = bounds.tree(program.serialize())
            bounds.cost_of(tree, self._sizes)
        except (RuntimeError, ValueError) as error:
            self._mistakes(key, str(error))
            return None
        except bounds.Refused as refused:
            self._problem(key, f"uses {refused}, which rbuild does not offer", None)
            return None
        declared = {one.name for one in self._fields}
        return _Compiled(program, tree, bounds.names(tree) & declared)

    def _mistakes(self, key: str, said: str) -> None:
        found = [match for match in _MISTAKE.finditer(said) if "'*error*'" not in match[3]]
        if not found:
            what = "is nested too deeply" if "ecursion" in said else f"is no expression: {_reason(said)}"
            self._problem(key, what, None)
            return
        for match in dict.fromkeys(found[:_MOST_MISTAKES]):
            line, column, what = int(match[1]), int(match[2]), match[3]
            if "max recursion depth" in what:
                self._problem(key, "is nested too deeply", None)
                return
            what = re.sub(r" \(in container '[^']*'\)", "", what.replace("rbuild.", ""))
            place = f" (line {line}, column {column})" if line > 0 else ""
            self._problem(key, f"{_cut(what)}{place}", self._suggestion(what))

    def _suggestion(self, what: str) -> str | None:
        match = _NAMED.search(what)
        if match is None:
            return None
        name, field, kind = match.groups()
        if name is not None:
            name = name.partition(".")[0]
            if name == "item":
                return "each: says what item is, such as each: containerfile.instructions"
            later = next((one for one in VARIABLES if one.name == name), None)
            if later is not None:
                return f"{name} is there with when: {later.moment.value}"
            names = [one.name for one in self._fields]
            return did_you_mean(name, names) or f"there are: {', '.join(names)}"
        if (kind, field) == ("Image", "files"):
            return "files are looked at one by one: each: image.files"
        names = [one.name for one in TYPES.get(kind, ())]
        return did_you_mean(field, names) or (f"it has: {', '.join(names)}" if names else None)

    def _problem(self, key: str, what: str, hint: str | None) -> None:
        self.problems.append(Problem(what=what, where=self._rule.places[key], hint=hint))


_SMALLER: Final = "look at one element at a time with each, or make less of it"


def _cut(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"


_environments: dict[tuple[Field, ...], Any] = {}


def _environment(fields: tuple[Field, ...]) -> Any:
    if fields not in _environments:
        from rbuild.policy.cel.types import environment

        _environments[fields] = environment(fields)
    return _environments[fields]
