/*
 * Gives a user-mode-linux machine a clock that does not depend on how fast its host happens to be.
 *
 * What the lab measures are protocols: who took over after how many seconds, how many requests were lost meanwhile. A
 * system call of user-mode-linux costs tens of microseconds where a processor's own costs a fraction of one, and a busy
 * host multiplies that, until health checks time out that would pass on any real director. So the machine's time:
 *
 * - passes at 1/n of the host's while the machine works (n is FULCRUM_LAB_SLOWDOWN): it is n times as fast a machine;
 * - jumps to the next timer while the machine is idle, instead of waiting for it.
 *
 * This holds for a machine whose only input is its own timers: no console, no network of the host, files by hostfs.
 * Without FULCRUM_LAB_SLOWDOWN its time is the host's.
 *
 * user-mode-linux reads time and sets its one timer in arch/um/os-Linux/time.c; there it also waits when it is idle.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define NANOSECONDS 1000000000LL

static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_timer_settime)(timer_t, int, const struct itimerspec *, struct itimerspec *);
static int (*real_sigsuspend)(const sigset_t *);

/* How many nanoseconds of the host are one of the machine; 0 when its time is the host's. */
static long long slowdown;
/*
 * The same moment on both clocks, since when the machine has worked. There are two, one of which counts: a signal's
 * handler that reads the time while they change reads the old one whole.
 */
static struct moment {
	long long host, machine;
} moments[2];
static volatile int current;
/* The machine's one timer: when it expires on the machine's clock, and its period; 0 when there is none. */
static timer_t timer;
static long long expires, period;

static long long nanoseconds(const struct timespec *value)
{
	return value->tv_sec * NANOSECONDS + value->tv_nsec;
}

static struct timespec timespec(long long value)
{
	return (struct timespec){ value / NANOSECONDS, value % NANOSECONDS };
}

static long long host_now(void)
{
	struct timespec now;

	real_clock_gettime(CLOCK_MONOTONIC, &now);
	return nanoseconds(&now);
}

static long long machine_now(void)
{
	const struct moment *since = &moments[current];

	return since->machine + (host_now() - since->host) / slowdown;
}

__attribute__((constructor)) static void start(void)
{
	const char *value = getenv("FULCRUM_LAB_SLOWDOWN");

	real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	real_timer_settime = dlsym(RTLD_NEXT, "timer_settime");
	real_sigsuspend = dlsym(RTLD_NEXT, "sigsuspend");
	slowdown = value ? atoll(value) : 0;
	moments[current].host = moments[current].machine = host_now();
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (slowdown == 0 || clock != CLOCK_MONOTONIC)
		return real_clock_gettime(clock, now);
	*now = timespec(machine_now());
	return 0;
}

/* user-mode-linux sets relative times only, and asks for no old value. */
int timer_settime(timer_t id, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	struct itimerspec slowed = *value;
	long long after = nanoseconds(&value->it_value);

	if (slowdown == 0 || flags != 0)
		return real_timer_settime(id, flags, value, old);
	timer = id;
	period = nanoseconds(&value->it_interval);
	expires = after == 0 ? 0 : machine_now() + after;
	slowed.it_value = timespec(after * slowdown);
	slowed.it_interval = timespec(period * slowdown);
	return real_timer_settime(id, flags, &slowed, old);
}

/* The machine is idle until its timer expires: let it expire now. Its signal is blocked here (os_idle_sleep). */
int sigsuspend(const sigset_t *mask)
{
	if (slowdown != 0 && expires != 0) {
		struct itimerspec at_once = { timespec(period * slowdown), timespec(1) };
		long long now = machine_now();

		/* The next period of a timer that has expired before. */
		if (expires < now && period != 0)
			expires += (now - expires + period - 1) / period * period;
		if (expires < now)
			expires = now;
		moments[!current] = (struct moment){ host_now(), expires };
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		current = !current;
		expires = period == 0 ? 0 : expires + period;
		real_timer_settime(timer, 0, &at_once, NULL);
	}
	return real_sigsuspend(mask);
}
