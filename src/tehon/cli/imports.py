"""Imports of large libraries, without what these take in for uses that are not ours.

Half the time from a command to its first step would else be spent on them: diffusers and transformers load PyTorch's
compiler for the sake of decorators, its distributed tensors for models in several pieces, each other, all their own
networks, the lists of files of all packages, and scipy, peft, bitsandbytes and accelerate because they are there; numba
loads scipy too. Only a command does without, whose process is its own: to a program that uses `tehon.api`, all of them
stay what they are.
"""

import importlib.metadata
import logging
import sys
from argparse import Namespace
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

OF_DIFFUSERS = (
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_ddim",
)
OF_TRANSFORMERS = ("transformers.models.clip.modeling_clip", "transformers.models.clip.tokenization_clip")
UNUSED = ("accelerate", "bitsandbytes", "onnxruntime", "peft", "torchao")
COMPILER = "torch._dynamo"
PACKAGES = ("diffusers.models.autoencoders", "diffusers.models.transformers", "diffusers.models.unets")
"""They load everything in them as soon as one of their modules is asked for."""
READERS = ("transformers", "transformers.models")
"""They read through everything in them then, 45 MB of source."""


@contextmanager
def left_out(*names: str) -> Generator[None, None, None]:
    """Inside the block these modules are not there for those who import them if they are, and do without if not."""
    with _replaced(dict.fromkeys(names)):
        yield


@contextmanager
def models_made_late() -> Generator[None, None, None]:
    """Inside the block pydantic's models are declared only, and made when they are first used: FastAPI has 60 of them
    that describe OpenAPI, a tenth of the start of the page. A pydantic that has no such switch makes them at once."""
    from pydantic._internal import _config as pydantic_config

    switches: Any = getattr(pydantic_config, "config_defaults", {})
    before = switches.get("defer_build")
    if before is not None:
        switches["defer_build"] = True
    try:
        yield
    finally:
        if before is not None:
            switches["defer_build"] = before


def import_networks(options: Namespace) -> None:
    """Imports what U-Net, VAE, text encoder and noise schedule are made of, in half the time, if the process is the
    command's own (`options.alone`).

    A version of these libraries that can't be imported so is imported as usual when it is first used.
    """
    if not options.alone:
        return
    # It warns of a kernel for drawing in 4 bits on processors with AVX-512, which no training needs.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    before = set(sys.modules)
    try:
        _import_networks()
    except (ImportError, AttributeError, RuntimeError):
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ("diffusers", "transformers"):
                del sys.modules[name]


def _import_networks() -> None:
    import torch

    compiler = _Decorators(COMPILER)
    compiler.__path__ = _folder(COMPILER)
    with ExitStack() as around:
        around.enter_context(left_out(*UNUSED))
        around.enter_context(_replaced({COMPILER: compiler}))
        around.enter_context(_attribute(torch.compiler, "disable", _unchanged))
        around.enter_context(_attribute(torch.distributed, "is_available", lambda: False))
        # diffusers goes through the files of all packages to find three, which are not ours, by another name.
        around.enter_context(_attribute(importlib.metadata, "packages_distributions", dict))
        with left_out("transformers"), _replaced({name: _package(name) for name in PACKAGES}):
            found = import_module("diffusers.utils.import_utils"), "_scipy_available"  # which the LMS samplers look at
            around.enter_context(_attribute(*found, False))
            for name in OF_DIFFUSERS:
                import_module(name)
        with left_out("scipy"), _replaced({name: _package(name) for name in READERS}):
            once_more = import_module("transformers.utils"), "direct_transformers_import"  # of the whole package
            around.enter_context(_attribute(*once_more, lambda _: sys.modules["transformers"]))
            for name in OF_TRANSFORMERS:
                import_module(name)
        if not torch.cuda.is_available():
            with left_out("scipy"):  # of which this takes BLAS, for loops unlike ours
                import_module("numba.np.arraymath")


def _package(name: str) -> ModuleType:
    """A package whose modules can be imported one by one."""
    package = ModuleType(name)
    package.__path__ = _folder(name)
    if "." not in name:
        package.__dict__["__version__"] = importlib.metadata.version(name)
    return package


def _folder(name: str) -> list[str]:
    library, *rest = name.split(".")
    spec = find_spec(library)
    return [str(Path(found, *rest)) for found in (spec and spec.submodule_search_locations) or ()]


class _Decorators(ModuleType):
    """A module whose functions are decorators that change nothing, with or without arguments."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unchanged


def _unchanged(function: Any = None, **_: Any) -> Any:
    return _unchanged if function is None else function


@contextmanager
def _replaced(modules: dict[str, Any]) -> Generator[None, None, None]:
    """Inside the block, `import` gives these; None is Python's own way to say that there is no such module."""
    absent = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def _attribute(owner: Any, name: str, value: Any) -> Generator[None, None, None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)
