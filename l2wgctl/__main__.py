# SPDX-License-Identifier: GPL-2.0
"""`python -m l2wgctl`."""

from .cli import run

if __name__ == "__main__":
    run()
