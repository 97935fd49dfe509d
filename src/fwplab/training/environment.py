"""The versions and the machine that a result was made with."""

import platform

import numpy as np
import torch

from fwplab import ops
from fwplab.ops.doctor import processor
from fwplab.version import __version__


def environment(device: str) -> dict[str, str]:
    """The versions, the machine and the implementations of the operators, by name, as a record stores them."""
    return {
        "fwplab": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device_name(device),
        "threads": str(torch.get_num_threads()),
        "operators": ", ".join(f"{rule}: {form}" for rule, form in _operators(torch.device(device)).items()),
    }


def _operators(device: torch.device) -> dict[str, str]:
    """The implementation of every operator; on a GPU only of those that have been used, as others are not compiled."""
    if device.type == "cuda":
        return {rule: "PyTorch" if why else "triton" for rule, why in ops.triton.found(device).items()}
    auto: dict[str, str] = ops.info(str(device))["auto"]
    return auto


def _device_name(device: str) -> str:
    kind = torch.device(device).type
    if kind != "cpu":
        return torch.cuda.get_device_name(device) if kind == "cuda" else kind
    return processor()
