# SPDX-License-Identifier: GPL-2.0
"""The mesh: hosts, their keys and MACs in etcd, admitted by signature (docs/mesh.md)."""
