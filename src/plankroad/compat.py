"""What the compiler is told and CPython need not know.

`mypyc_attr` is mypyc's own decorator, without a dependency on `mypy_extensions` at run time. A compiled class that
programs subclass in plain Python needs it:

    from plankroad.compat import mypyc_attr

    @mypyc_attr(allow_interpreted_subclasses=True)
    class CongestionControl:
        __slots__ = ("cwnd", ...)

Without it "interpreted classes cannot inherit from compiled" is raised where the subclass is defined, in a compiled
build only. Its price is that each call of a method looks whether a subclass overrides it (2 to 3 ns). Compiled
subclasses of such a class carry the decorator too if they are to be subclassed.

Import it by this name and put the attributes in the decorator's call: mypyc reads the source, and follows the name
to `mypy_extensions.mypyc_attr`. This module itself is never compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What mypy and mypyc see: they follow the name through this module.
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(*attrs, **kwattrs):
        """Leave the class as it is: the attributes are for the compiler alone."""

        def unchanged(cls):
            return cls

        return unchanged


__all__ = ["mypyc_attr"]
