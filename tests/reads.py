"""What makes the host wait for a device, counted: tests of training and of style look with it."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a device: a number is read, or as many as nobody knows are chosen.

    A number that Python makes a tensor of, too (`lift_fresh`): where the tensor is to lie on a card it is copied to
    it, and the copy is waited for. `new_full` and the like make it there.
    """

    WAITS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.removeprefix("aten::") in self.WAITS:
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))
