"""The types of expressions for the library, made at run time of what `inputs` says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

from rbuild.policy.cel.inputs import TYPES, Field

_PACKAGE: Final = "rbuild"
_TEXT, _BYTES, _INT64, _BOOL, _MESSAGE = 9, 12, 3, 8, 11  # FieldDescriptorProto.Type
_ONE, _MANY = 1, 3  # FieldDescriptorProto.Label
_SCALARS: Final = {"text": _TEXT, "number": _INT64, "truth": _BOOL}


@cache
def pool() -> Any:
    """The descriptors of all types."""
    from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="rbuild/policy.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for name, fields in TYPES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            _add(message, number, field)
    made = descriptor_pool.DescriptorPool()
    made.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    made.AddSerializedFile(file.SerializeToString())
    return made


def _add(message: Any, number: int, field: Field) -> None:
    many = field.many or field.kind.startswith(("list", "map"))
    written = message.field.add(name=field.name, number=number, label=_MANY if many else _ONE)
    if field.kind in _SCALARS:
        written.type = _SCALARS[field.kind]
    elif field.kind == "list of texts":
        written.type = _TEXT
    elif field.kind.startswith("map"):
        entry = message.nested_type.add(name=f"{field.name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_ONE, type=_TEXT)
        entry.field.add(
            name="value", number=2, label=_ONE, type=_BYTES if field.kind.endswith("bytes") else _TEXT
        )
        written.type, written.type_name = _MESSAGE, f".{_PACKAGE}.{message.name}.{entry.name}"
    else:
        written.type = _MESSAGE
        written.type_name = (
            ".google.protobuf.Timestamp" if field.kind == "time" else f".{_PACKAGE}.{field.kind}"
        )


@cache
def classes() -> Mapping[str, Any]:
    """The classes of the types' values, by name."""
    from google.protobuf import message_factory

    return MappingProxyType(
        {
            name: message_factory.GetMessageClass(pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in TYPES
        }
    )


def environment(fields: tuple[Field, ...]) -> Any:
    """The library's environment, in which these variables are declared."""
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_strings

    def declared(field: Field) -> Any:
        kind = cel.Type.TIMESTAMP if field.kind == "time" else cel.Type(f"{_PACKAGE}.{field.kind}")
        return cel.Type.List(kind) if field.many else kind

    return cel.NewEnv(
        descriptor_pool=pool(),
        variables={field.name: declared(field) for field in fields},
        extensions=[ext_strings.ExtStrings()],
    )
