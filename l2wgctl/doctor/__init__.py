# SPDX-License-Identifier: GPL-2.0
"""doctor: from the module to the tunnel, what is well, what is not, and how to mend it.

Each check is a generator of findings, in the module of what it looks at. Facts come from a `System`
and from `Links`, of which the tests have their own.
"""
