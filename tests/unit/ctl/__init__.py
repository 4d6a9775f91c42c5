# SPDX-License-Identifier: GPL-2.0
"""Tests of l2wgctl: no root, no module."""
