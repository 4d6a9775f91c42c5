# SPDX-License-Identifier: GPL-2.0
"""What is behind ./inv: kernel sources, patching, building, the lab."""
