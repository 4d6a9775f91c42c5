# SPDX-License-Identifier: GPL-2.0
"""doctor: check everything from the module to the tunnel, and say how to mend what is wrong.

Each check is a generator of findings, in a module named by what it checks. Facts come from a
`System` and from `Links`; the tests have their own.
"""
