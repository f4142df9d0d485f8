"""How much memory and how many steps an expression takes at most, before it is evaluated.

The library ends an evaluation after 10,000 rounds of its macros, and a parse at a depth of 32; it neither
bounds the texts that `+` makes nor frees anything before the end: `[s].map(a, a + a)`, nested a few times,
would fill any memory. So what an expression can make is bounded here, over its syntax tree, from the sizes
of what it looks at; as Kubernetes does for its admission policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any, Final

from rbuild.policy.cel.inputs import TYPES, Field

MAX_MEMORY: Final = 64 << 20  # bytes that one evaluation may make
MAX_STEPS: Final = 2_000_000_000  # of one rule for one stage; a step is about 10 ns
ROUNDS: Final = 10_000  # of all macros in one evaluation: the library's own limit
EVALUATION: Final = 600  # steps that an evaluation takes beside those of its expression

_NODE = 25
_ROUND = 100
_REGEX = 3_000
_CELL = 32  # bytes of an element of a list or map


@dataclass(frozen=True, slots=True)
class Size:
    """The most that a value can be: bytes of a text, elements of a list or map, and what one of these is."""

    bytes: int = 0
    items: int = 0
    element: Size | None = None
    fields: Mapping[str, Size] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of the whole."""
        inner = self.items * (_CELL + self.element.total) if self.element else 0
        return self.bytes + inner + sum(one.total for one in self.fields.values())


_NONE = Size()
_LONGEST_NUMBER = Size(64)


def joined(sizes: Iterable[Size]) -> Size:
    """What is at least as large as each of them."""
    return reduce(_join, sizes, _NONE)


def _join(a: Size, b: Size) -> Size:
    element = (
        a.element if b.element is None else b.element if a.element is None else _join(a.element, b.element)
    )
    names = dict.fromkeys((*a.fields, *b.fields))
    return Size(
        max(a.bytes, b.bytes),
        max(a.items, b.items),
        element,
        {name: _join(a.fields.get(name, _NONE), b.fields.get(name, _NONE)) for name in names},
    )


@cache
def nominal(kind: str, many: bool = False) -> Size:
    """The size of a value of ordinary extent: ten elements, texts of 200 bytes."""
    if many:
        return Size(items=10, element=nominal(kind))
    if kind == "text":
        return Size(200)
    if kind.startswith(("list", "map")):
        return Size(bytes=200, items=10, element=Size(200))
    return Size(fields={one.name: nominal(one.kind, one.many) for one in TYPES.get(kind, ())})


def measured(value: Any, kind: Field) -> Size:
    """The size of a value of our types."""
    if kind.many:
        return Size(items=len(value), element=joined(_measured(one, kind.kind) for one in value))
    return _measured(value, kind.kind)


def _measured(value: Any, kind: str) -> Size:
    if kind == "text":
        return Size(len(value.encode()))
    if kind == "list of texts":
        return Size(items=len(value), element=Size(max((len(one.encode()) for one in value), default=0)))
    if kind.startswith("map"):
        longest = max((len(one) for one in value.values()), default=0)
        keys = max((len(one.encode()) for one in value), default=0)
        return Size(bytes=keys, items=len(value), element=Size(4 * longest))
    fields = TYPES.get(kind)
    if fields is None:
        return _NONE
    return Size(fields={one.name: measured(getattr(value, one.name), one) for one in fields})


class Refused(Exception):
    """An expression uses something that is not offered."""


@dataclass(slots=True)
class Cost:
    """What an evaluation takes: bytes made, steps."""

    memory: int = 0
    steps: int = 0


def cost_of(tree: Any, sizes: Mapping[str, Size]) -> Cost:
    """The most that one evaluation of a syntax tree (see `tree`) takes, where variables have these sizes.

    Raises Refused for a function whose results have no bound.
    """
    walk = _Walk()
    walk.size(tree, sizes, 1)
    return walk.cost


class _Walk:
    def __init__(self) -> None:
        self.cost = Cost()

    def _made(self, size: int, times: int) -> None:
        self.cost.memory += size * times
        self.cost.steps += size * times // 8

    def size(self, node: Any, sizes: Mapping[str, Size], times: int) -> Size:
        """The size of a node's value; `times` is how often it is evaluated."""
        self.cost.steps += _NODE * times
        match node.WhichOneof("kind"):
            case "const_expr":
                constant = node.const_expr
                return Size(len(constant.string_value.encode()) + len(constant.bytes_value))
            case "ident_expr":
                return sizes.get(node.ident_expr.name, _NONE)
            case "select_expr":
                operand = self.size(node.select_expr.operand, sizes, times)
                if node.select_expr.test_only:
                    return _NONE
                return operand.fields.get(node.select_expr.field) or operand.element or _NONE
            case "call_expr":
                return self._call(node.call_expr, sizes, times)
            case "list_expr":
                elements = [self.size(one, sizes, times) for one in node.list_expr.elements]
                self._made(_CELL * (1 + len(elements)), times)
                return Size(items=len(elements), element=joined(elements))
            case "struct_expr":
                entries = node.struct_expr.entries
                keys = [self.size(one.map_key, sizes, times) for one in entries if one.HasField("map_key")]
                values = [self.size(one.value, sizes, times) for one in entries]
                self._made(sum(one.total for one in values) + 2 * _CELL * (1 + len(entries)), times)
                return Size(joined(keys).bytes, len(entries), joined(values))
            case "comprehension_expr":
                return self._comprehension(node.comprehension_expr, sizes, times)
        raise Refused("something that rbuild does not know")

    def _comprehension(self, node: Any, sizes: Mapping[str, Size], times: int) -> Size:
        over = self.size(node.iter_range, sizes, times)
        before = self.size(node.accu_init, sizes, times)
        rounds = min(over.items, ROUNDS)
        inside = min(times * rounds, ROUNDS)  # of all macros together
        # Over a map, the keys.
        element = _join(over.element or _NONE, Size(over.bytes))
        local = {**sizes, node.iter_var: element, node.accu_var: before}
        if node.iter_var2:
            local[node.iter_var2] = element
        self.cost.steps += _ROUND * inside
        self.size(node.loop_condition, local, inside)
        once = self.size(node.loop_step, local, inside)
        # A macro only ever adds to what it gathers.
        after = Size(
            before.bytes + rounds * max(once.bytes - before.bytes, 0),
            before.items + rounds * max(once.items - before.items, 0),
            once.element,
            once.fields,
        )
        return self.size(node.result, {**sizes, node.accu_var: after}, times)

    def _call(self, call: Any, sizes: Mapping[str, Size], times: int) -> Size:
        nodes = [call.target, *call.args] if call.HasField("target") else list(call.args)
        given = [self.size(one, sizes, times) for one in nodes]
        name = call.function
        if name in _SCALAR:
            self.cost.steps += times * sum(one.bytes for one in given) // 8
            return _NONE
        if name in _COMPARING:
            self.cost.steps += times * (min(one.total for one in given) // 8 + _inside(name, given))
            return _NONE
        if name == "matches":
            self.cost.steps += times * (_REGEX + given[0].bytes // 4 + 50 * given[1].bytes)
            return _NONE
        if name in _SEARCHING:
            self.cost.steps += times * given[0].bytes * (1 + given[1].bytes // 8)
            return _NONE
        result = self._result(name, given)
        self._made(result.bytes + _CELL * result.items, times)
        return result

    def _result(self, name: str, given: Sequence[Size]) -> Size:
        match name:
            case "_+_":
                a, b = given
                element = joined(one for one in (a.element, b.element) if one)
                return Size(a.bytes + b.bytes, a.items + b.items, element if a.items + b.items else None)
            case "_?_:_":
                return _join(given[1], given[2])
            case "_[_]":
                return given[0].element or _NONE
            case "dyn" | "substring" | "trim" | "lowerAscii" | "upperAscii" | "charAt" | "reverse":
                return given[0]
            case "string" | "bytes":
                return Size(2 * given[0].bytes + _LONGEST_NUMBER.bytes)
            case "split":
                return Size(items=given[0].bytes + 1, element=Size(given[0].bytes))
            case "join":
                between = given[1].bytes if len(given) > 1 else 0
                return Size(given[0].items * ((given[0].element or _NONE).bytes + between))
            case "replace":
                return Size((given[0].bytes + 1) * (1 + given[2].bytes))
            case "strings.quote":
                return Size(2 + 4 * given[0].bytes)
        raise Refused(f"the function {name}")


_SCALAR = frozenset(
    (
        *(
            "_&&_",
            "_||_",
            "!_",
            "-_",
            "_-_",
            "_*_",
            "_/_",
            "_%_",
            "@not_strictly_false",
            "__not_strictly_false__",
        ),
        *("size", "int", "uint", "double", "bool", "type", "timestamp", "duration"),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours"),
        *("getMilliseconds", "getMinutes", "getMonth", "getSeconds"),
    )
)
_COMPARING = frozenset(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "in", "_in_"))
_SEARCHING = frozenset(("contains", "startsWith", "endsWith", "indexOf", "lastIndexOf"))


def _inside(name: str, given: Sequence[Size]) -> int:
    """Steps of a search in a list or map."""
    return given[1].items * (5 + given[0].bytes // 8) if "in" in name else 0


def tree(serialized: bytes) -> Any:
    """The syntax tree of a compiled expression, as the library serialises it."""
    any_pb2, checked = _messages()
    wrapped = any_pb2.Any.FromString(serialized)
    return checked.FromString(wrapped.value).expr


@cache
def _messages() -> tuple[Any, Any]:
    """google.protobuf.Any, and the part of cel.expr.CheckedExpr (cel-spec, checked.proto, syntax.proto)
    that is needed here."""
    from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="tree.proto", package="cel.expr", syntax="proto3")
    for name, fields in _TREE.items():
        message = file.message_type.add(name=name)
        for said in fields:
            part, number, kind, *many = said.split()
            written = message.field.add(name=part, number=int(number), label=3 if many else 1)
            if kind in _KINDS:
                written.type = _KINDS[kind]
            else:
                written.type, written.type_name = 11, f".cel.expr.{kind}"
            if name == "Expr" and part != "id":
                written.oneof_index = 0
        if name == "Expr":
            message.oneof_decl.add(name="kind")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    checked = pool.FindMessageTypeByName("cel.expr.CheckedExpr")
    return any_pb2, message_factory.GetMessageClass(checked)


_KINDS: Final = {"text": 9, "bytes": 12, "number": 3, "truth": 8}  # FieldDescriptorProto.Type
_TREE: Final = {
    "CheckedExpr": ("expr 4 Expr",),
    "Expr": (
        *("id 2 number", "const_expr 3 Constant", "ident_expr 4 Ident", "select_expr 5 Select"),
        *("call_expr 6 Call", "list_expr 7 CreateList", "struct_expr 8 CreateStruct"),
        "comprehension_expr 9 Comprehension",
    ),
    "Constant": ("string_value 6 text", "bytes_value 7 bytes"),
    "Ident": ("name 1 text",),
    "Select": ("operand 1 Expr", "field 2 text", "test_only 3 truth"),
    "Call": ("target 1 Expr", "function 2 text", "args 3 Expr many"),
    "CreateList": ("elements 1 Expr many",),
    "CreateStruct": ("message_name 1 text", "entries 2 Entry many"),
    "Entry": ("id 1 number", "field_key 2 text", "map_key 3 Expr", "value 4 Expr"),
    "Comprehension": (
        *("iter_var 1 text", "iter_range 2 Expr", "accu_var 3 text", "accu_init 4 Expr"),
        *("loop_condition 5 Expr", "loop_step 6 Expr", "result 7 Expr", "iter_var2 8 text"),
    ),
}


def names(node: Any) -> frozenset[str]:
    """The identifiers that a tree mentions."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.DESCRIPTOR.name == "Ident":
            found.add(one.name)
        for part, value in one.ListFields():
            if part.message_type is not None:
                waiting += value if part.is_repeated else (value,)
    return frozenset(found)
