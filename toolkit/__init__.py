# SPDX-License-Identifier: GPL-2.0
"""What the tasks of tasks.py do."""
