# SPDX-License-Identifier: GPL-2.0
# Included by the patched Makefile of drivers/net/wireguard: our objects, and what
# the kernel's headers offer them. Read by kbuild in a tree, in ./inv build-module
# and in DKMS alike.
wireguard-y += l2wg_addr.o
wireguard-y += l2wg_batch.o
wireguard-y += l2wg_bound.o
wireguard-y += l2wg_claim.o
wireguard-y += l2wg_dev.o
wireguard-y += l2wg_ethtool.o
wireguard-y += l2wg_fdb.o
wireguard-y += l2wg_flood.o
wireguard-y += l2wg_frame.o
wireguard-y += l2wg_genl.o
wireguard-y += l2wg_guard.o
wireguard-y += l2wg_host.o
wireguard-y += l2wg_length.o
wireguard-y += l2wg_loop.o
wireguard-y += l2wg_member.o
wireguard-y += l2wg_receive.o
wireguard-y += l2wg_replace.o
wireguard-y += l2wg_session.o
wireguard-y += l2wg_switch.o
wireguard-y += l2wg_table.o
wireguard-y += l2wg_vlan.o
wireguard-y += l2wg_wake.o

# $(call l2wg-probe,HEADER,START,END,WORD,FEATURE): -DL2WG_HAVE_<FEATURE> if WORD is in
# include/HEADER between a line that matches START and the next one that matches END.
l2wg-probe = $(if $(shell sed -n '/$(2)/,/$(3)/p' $(srctree)/include/$(1) | grep -w '$(4)'),-DL2WG_HAVE_$(5))

# An operation of struct net_device_ops, and not the text above it; a structure
l2wg-ndo = $(call l2wg-probe,linux/netdevice.h,^[[:space:]]int[[:space:]]*.[*]$(1)\>,;,$(2),$(3))
l2wg-struct = $(call l2wg-probe,$(1),^struct $(2) {,^},$(3),$(4))

ccflags-y += $(if $(wildcard $(srctree)/include/net/gso.h),-DL2WG_HAVE_GSO_HEADER)
ccflags-y += $(call l2wg-ndo,ndo_fdb_add,notified,FDB_NOTIFIED)
ccflags-y += $(call l2wg-ndo,ndo_fdb_del,extack,FDB_DEL_EXTACK)
ccflags-y += $(call l2wg-ndo,ndo_fdb_del_bulk,vid,FDB_DEL_BULK_VID)
ccflags-y += $(call l2wg-ndo,ndo_fdb_del_bulk,nlh,FDB_DEL_BULK_NLH)
ccflags-y += $(call l2wg-probe,linux/netdevice.h,NAPI_STATE_SCHED,^},NAPI_STATE_THREADED,NAPI_THREADED)
ccflags-y += $(call l2wg-struct,linux/rtnetlink.h,ndo_fdb_dump_context,fdb_idx,FDB_DUMP_CONTEXT)
ccflags-y += $(call l2wg-probe,net/dropreason-core.h,^enum skb_drop_reason,^},SKB_DROP_REASON_LOCAL_MAC,MAC_DROP_REASONS)
ccflags-y += $(call l2wg-struct,crypto/blake2s.h,blake2s_ctx,blake2s_ctx,BLAKE2S_CTX)
ccflags-y += $(call l2wg-struct,net/genetlink.h,genl_dumpit_info,info,GENL_DUMPIT_INFO)
ccflags-y += $(call l2wg-struct,net/genetlink.h,genl_multicast_group,flags,GENL_MCAST_FLAGS)
