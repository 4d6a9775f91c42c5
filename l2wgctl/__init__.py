# SPDX-License-Identifier: GPL-2.0
"""The control plane of L2 WireGuard: links, keys and peers, over netlink."""
