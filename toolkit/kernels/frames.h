/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For arch/um/kernel/stacktrace.c, when we build it (own.py). dump_trace() asks of
 * each word of a stack whether it is a function's address, which searches the modules,
 * with a lock and checks of its own. KASAN and kmemleak want a trace for each object:
 * that was four fifths of all time. They note only what is a return address by the
 * chain of frames, so ask of those words alone. What is lost are the lines with a
 * question mark in the trace of an oops.
 */
#include <linux/kernel.h>

#define __kernel_text_address(addr) \
	((unsigned long)sp == bp + sizeof(long) && __kernel_text_address(addr))
