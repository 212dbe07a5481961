# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Refuses messages with too many elements before Python objects are made of them.

The type support for C, which rclpy uses, checks the bounds of sequences when it sends a message
and not when it receives one (rosidl_typesupport_fastrtps_c, `msg__type_support_c.cpp.em`). Anyone
can send 500,000 points; to make Python objects of them takes two seconds, in which the interpreter
does nothing else. So their number is read from the received structure first.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, cast

from rosidl_parser import definition as rosidl

MAX_MESSAGES = 10_000
"""Most messages within a message, such as detections and their hypotheses."""


@dataclass(frozen=True)
class Refused:
    """What a subscription or a service receives in place of a message that is too long.

    Attributes:
        reason: what is too long.
    """

    reason: str


class _Sequence(ctypes.Structure):
    """`rosidl_runtime_c__<type>__Sequence`; strings have the same fields."""

    _fields_ = (
        ('data', ctypes.c_void_p),
        ('size', ctypes.c_size_t),
        ('capacity', ctypes.c_size_t),
    )


@dataclass(frozen=True)
class _Place:
    """Where a message has a sequence.

    Attributes:
        path: names of the fields, such as `mask.data`.
        offset: from the begin of the message, bytes.
        bound: most elements; 0: any number.
        element: type of its elements: a message, or a type of Python.
    """

    path: str
    offset: int
    bound: int
    element: type

    @property
    def has_messages(self) -> bool:
        """Whether Python objects are made of it one by one; numbers are copied as a whole."""
        return hasattr(self.element, 'SLOT_TYPES')


_NUMBERS = {
    'boolean': ctypes.c_bool,
    'octet': ctypes.c_uint8,
    'char': ctypes.c_uint8,
    'wchar': ctypes.c_uint16,
    'float': ctypes.c_float,
    'double': ctypes.c_double,
    'long double': ctypes.c_longdouble,
    **{
        f'{sign}int{bits}': getattr(ctypes, f'c_{sign}int{bits}')
        for sign in ('', 'u')
        for bits in (8, 16, 32, 64)
    },
}

_convert_to_py = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p)
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


@cache
def bounded(message_type: type) -> type:
    """Return a type to receive messages with, which gives a `Refused` for those too long.

    Args:
        message_type: the type of a topic.

    Returns:
        A type of the same messages; `message_type` itself if it has no sequences, or if this
        rosidl stores them in another way, so that they are received as before.
    """
    support: Any = type(message_type)
    if support._TYPE_SUPPORT is None:
        support.__import_type_support__()
    if not _layout_is_right(message_type):
        return message_type
    convert = _convert_to_py(_pointer_of(support._CONVERT_TO_PY, None))

    def check_and_convert(address: int) -> Any:
        # An exception cannot leave this function.
        try:
            reason, _ = _excess(message_type, address, MAX_MESSAGES)
            return Refused(reason) if reason else convert(address)
        except Exception as error:
            return Refused(f'it cannot be read: {error}')

    callback = _convert_to_py(check_and_convert)
    capsule = _new_capsule(ctypes.cast(callback, ctypes.c_void_p), None, None)
    metaclass = type('Bounded', (support,), {'_CONVERT_TO_PY': capsule, '_callback': callback})
    return metaclass(message_type.__name__, (message_type,), {'__slots__': ()})


@cache
def bounded_service(service_type: type) -> type:
    """Return a type to offer a service with, which gets a `Refused` for requests too long."""
    request = bounded(service_type.Request)  # type: ignore[attr-defined]
    return type(service_type)(service_type.__name__, (service_type,), {'Request': request})


def _excess(message_type: type, address: int, left: int) -> tuple[str, int]:
    """Return what is too long in a message, or '', and how many more messages it may contain."""
    for place in _layout(message_type)[1]:
        sequence = _Sequence.from_address(address + place.offset)
        if place.bound and sequence.size > place.bound:
            return f'{sequence.size} {place.path}; the limit is {place.bound}', left
        if not place.has_messages:
            continue
        left -= sequence.size
        if left < 0:
            return f'too many {place.path}; the limit is {MAX_MESSAGES} in all', left
        size, inside = _layout(place.element)
        if not inside:
            continue
        for index in range(sequence.size):
            reason, left = _excess(place.element, sequence.data + index * size, left)
            if reason:
                return reason, left
    return '', left


@cache
def _layout(message_type: type) -> tuple[int, tuple[_Place, ...]]:
    """Return the size of a message in bytes, and its sequences."""
    structure, places = _structure(message_type)
    return ctypes.sizeof(structure), places


@cache
def _structure(message_type: Any) -> tuple[type[ctypes.Structure], tuple[_Place, ...]]:
    names = message_type.get_fields_and_field_types()
    kinds = [_field(kind) for kind in message_type.SLOT_TYPES]
    members = [(name, kind[0]) for name, kind in zip(names, kinds, strict=True)]
    # C has no empty structures.
    structure = type(
        message_type.__name__,
        (ctypes.Structure,),
        {'_fields_': members or [('structure_needs_at_least_one_member', ctypes.c_uint8)]},
    )
    places = []
    for name, (_, inside) in zip(names, kinds, strict=True):
        offset = getattr(structure, name).offset
        for place in inside:
            path = f'{name}.{place.path}'.rstrip('.')
            places.append(_Place(path, offset + place.offset, place.bound, place.element))
    return structure, tuple(places)


def _field(kind: Any) -> tuple[Any, tuple[_Place, ...]]:
    """Return how C stores a field, and the sequences in it."""
    if isinstance(kind, rosidl.BasicType):
        return _NUMBERS[kind.typename], ()
    if isinstance(kind, rosidl.AbstractGenericString):
        return _Sequence, ()
    if isinstance(kind, rosidl.NamespacedType):
        return _structure(_message_type(kind))
    value = kind.value_type
    if isinstance(kind, rosidl.Array):
        element, inside = _field(value)
        if inside:
            raise NotImplementedError('an array of messages with sequences')
        return element * kind.size, ()
    bound = kind.maximum_size if isinstance(kind, rosidl.BoundedSequence) else 0
    return _Sequence, (_Place('', 0, bound, _element_type(value)),)


def _element_type(kind: Any) -> type:
    if isinstance(kind, rosidl.NamespacedType):
        return cast('type', _message_type(kind))
    return str if isinstance(kind, rosidl.AbstractGenericString) else int


def _message_type(kind: Any) -> Any:
    return getattr(importlib.import_module('.'.join(kind.namespaces)), kind.name)


def _layout_is_right(message_type: Any) -> bool:
    """Return whether the sequences are found where `_layout` says, in a message made for this."""
    support = type(message_type)
    with contextlib.suppress(AttributeError, KeyError, NotImplementedError, TypeError):
        message = message_type()
        expected: dict[int, int] = {}
        for length, place in enumerate(_layout(message_type)[1], 3):
            owner, _, name = place.path.rpartition('.')
            setattr(
                attrgetter(owner)(message) if owner else message,
                name,
                [place.element() for _ in range(length)],
            )
            expected[place.offset] = length
        create, destroy = support._CREATE_ROS_MESSAGE, support._DESTROY_ROS_MESSAGE
        made = ctypes.PYFUNCTYPE(ctypes.c_void_p)(_pointer_of(create, None))()
        fill = ctypes.PYFUNCTYPE(ctypes.c_bool, ctypes.py_object, ctypes.c_void_p)
        try:
            is_filled = fill(_pointer_of(support._CONVERT_FROM_PY, None))(message, made)
            found = {offset: _Sequence.from_address(made + offset).size for offset in expected}
            return bool(expected) and is_filled and found == expected
        finally:
            ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_pointer_of(destroy, None))(made)
    return False
