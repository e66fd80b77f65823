/*
 * Lets user-mode-linux run on processors whose register state is larger than it knows.
 *
 * linux.uml sets the floating-point state of its processes by ptrace(PTRACE_SETREGSET, NT_X86_XSTATE) with room for
 * AVX-512 (2,696 bytes). The host's kernel takes only a whole state (arch/x86/kernel/fpu/regset.c, xstateregs_set):
 * where the processor has more, such as AMX, it answers EFAULT and the machine's first program is killed. This
 * library, preloaded, adds the missing end. It is zeroes: the header within the known part says which components are
 * in use, and those beyond cannot be, because a process has to ask for AMX and user-mode-linux does not let it.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Several times the state of any processor so far (11,008 bytes with AMX). */
#define MOST_BYTES (64 * 1024)

/* user-mode-linux has one processor and calls from one thread: no lock is needed, and its stacks are small. */
static unsigned char whole[MOST_BYTES] __attribute__((aligned(64)));
/* Bytes of a whole state on this host; 0 until it is known. */
static size_t whole_bytes;

static long call(long request, pid_t pid, void *address, void *data)
{
	return syscall(SYS_ptrace, request, pid, address, data);
}

static long set_xstate(pid_t pid, void *address, struct iovec *part)
{
	struct iovec all = { whole, MOST_BYTES };

	if (whole_bytes == 0) {
		if (call(PTRACE_GETREGSET, pid, address, &all) < 0)
			return -1;
		whole_bytes = all.iov_len;
		memset(whole, 0, sizeof(whole));
	}
	if (part->iov_len >= whole_bytes)
		return call(PTRACE_SETREGSET, pid, address, part);
	memcpy(whole, part->iov_base, part->iov_len);
	all.iov_len = whole_bytes;
	return call(PTRACE_SETREGSET, pid, address, &all);
}

/* Takes the place of glibc's, whose PTRACE_PEEK* requests give the word as the result. */
long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		long word = -1;

		if (call(request, pid, address, &word) < 0)
			return -1;
		errno = 0;
		return word;
	}
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
		return set_xstate(pid, address, data);
	return call(request, pid, address, data);
}
