"""The checks of shapes and types while tests run: what jaxtyping's hook puts around each function, for less.

jaxtyping's own decorator binds the arguments of every call, looks at them one function further on, and once more when
something is returned. Here beartype looks at each once, within jaxtyping's memory of sizes where there are shapes to
remember, and its code is made at the first call: in any one process most functions are never called.
"""

import dataclasses
import functools
import inspect
import types
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

# A whole number passes for a float, as everywhere in Python.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError))
thorough = jaxtyping.jaxtyped
sizes = thorough("context")


def install() -> None:
    """From here on every function and dataclass of hasama that is read is checked when it is called."""
    jaxtyping.jaxtyped = lean  # pyright: ignore[reportAttributeAccessIssue]
    jaxtyping.install_import_hook("hasama", "checker.check")


def lean(function: Any = None, **ours: Any) -> Any:
    """What the hook decorates with, instead of `jaxtyping.jaxtyped`."""
    if function is None:
        return functools.partial(lean, **ours)
    if isinstance(function, type):
        made = vars(function).get("__init__")  # one that is inherited is looked at already
        if made and dataclasses.is_dataclass(function) and not hasattr(made, "__wrapped__"):
            function.__init__ = checked(made)
        return function
    assert isinstance(function, types.FunctionType), "the hook's decorator is the innermost"
    return checked(function) if function.__annotations__ else function


def checked(function: Any) -> Any:
    """The function, its arguments and what it returns looked at in every call."""
    inner, shaped = None, False

    @functools.wraps(function)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        nonlocal inner, shaped
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        if inner is None:
            inner, shaped = compiled(function)
        if not shaped:
            return inner(*args, **kwargs)
        with sizes:
            return inner(*args, **kwargs)

    return looked_at


def compiled(function: types.FunctionType) -> tuple[Any, bool]:
    """The function with beartype's looks, and whether there are shapes among its types, which need a memory."""
    if inspect.isgeneratorfunction(function):  # of which beartype would look at what it yields, and not at once
        return thorough(function, typechecker=check), False
    types_of = {name: resolved(name, hint, function) for name, hint in function.__annotations__.items()}
    twin = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__, twin.__annotations__ = function.__kwdefaults__, types_of
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    return check(twin), any(map(has_shape, types_of.values()))


def resolved(name: str, hint: Any, function: types.FunctionType) -> Any:
    """A type instead of its name; anything, where only pyright reads the module that it comes from."""
    try:
        alone = types.SimpleNamespace(__annotations__={name: hint})
        return get_type_hints(alone, function.__globals__, include_extras=True)[name]
    except NameError:
        return Any


def has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(has_shape, get_args(hint)))
