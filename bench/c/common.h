/* What the C workers share: the clock, random numbers, results, and the bodies of the callbacks, so that the programs
 * differ only in the loop that calls these. A worker prints each result as one line: name, value, unit. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static UNUSED void die(const char *what) {
    perror(what);
    exit(1);
}

static UNUSED void *get(size_t n, size_t size) {
    void *p = calloc(n, size);
    if (!p) die("calloc");
    return p;
}

static UNUSED double now(void) { /* seconds */
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* busy is the CPU time of this process, which others on the machine disturb less than the clock. */
static UNUSED double busy(void) { /* seconds */
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static UNUSED void out(const char *name, double value, const char *unit) {
    printf("%s %.3f %s\n", name, value, unit);
}

static UNUSED int arg(int argc, char **argv, int i) {
    if (i >= argc) {
        fprintf(stderr, "%s: an argument is missing\n", argv[0]);
        exit(2);
    }
    return atoi(argv[i]);
}

/* splitmix64, the same as in the Go workers */
static uint64_t rnd_state = 1;

static UNUSED uint64_t rnd(void) {
    uint64_t z = (rnd_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static UNUSED int *permutation(int n) {
    int *p = get((size_t)n, sizeof *p);
    for (int i = 0; i < n; i++) {
        int j = (int)(rnd() % (uint64_t)(i + 1));
        p[i] = p[j];
        p[j] = i;
    }
    return p;
}

/* ---- chain: socket pairs in a ring, and bytes that travel along it ---- */

static struct {
    int n, active, writes;
    int *r, *w;
    long read, to_write;
} ring;

static UNUSED void ring_open(int n, int active, int writes) {
    ring.n = n, ring.active = active, ring.writes = writes;
    ring.r = get((size_t)n, sizeof(int)), ring.w = get((size_t)n, sizeof(int));
    for (int i = 0; i < n; i++) {
        int fd[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd)) die("socketpair");
        ring.r[i] = fd[0], ring.w[i] = fd[1];
    }
}

static UNUSED void ring_start(void) {
    ring.read = 0, ring.to_write = ring.writes - ring.active;
    for (int i = 0; i < ring.active; i++) {
        int pair = (int)((long)i * ring.n / ring.active);
        if (send(ring.w[pair], "e", 1, MSG_DONTWAIT) != 1) die("send");
    }
}

static UNUSED void ring_step(int i) {
    char c;
    if (recv(ring.r[i], &c, 1, MSG_DONTWAIT) != 1) return;
    ring.read++;
    if (ring.to_write <= 0) return;
    ring.to_write--;
    if (send(ring.w[i + 1 < ring.n ? i + 1 : 0], &c, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) die("send");
}

/* chain_run measures. poll_once dispatches what is ready. */
static UNUSED void chain_run(int repeat, void (*poll_once)(void)) {
    double start = 0;
    for (int k = 0; k <= repeat; k++) { /* the first is to warm up */
        if (k == 1) start = busy();
        ring_start();
        while (ring.read < ring.writes) poll_once();
    }
    out("event", (busy() - start) * 1e9 / repeat / ring.writes, "ns");
}

/* ---- echo ---- */

#define BUF 16384

struct conn {
    int fd;
    size_t len; /* of what could not be written yet */
    char *rest;
};

enum { KEEP, AWAIT_READ, AWAIT_WRITE, HANG_UP };

static UNUSED int listen_on(int port) {
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    signal(SIGPIPE, SIG_IGN);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) || listen(fd, 4096)) die("listen");
    return fd;
}

/* accept_one returns -1 when nobody waits. */
static UNUSED int accept_one(int ln) {
    int fd = accept4(ln, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static UNUSED int echo_write(struct conn *c, const char *p, size_t n) {
    ssize_t sent = send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return HANG_UP;
    size_t left = n - (size_t)(sent < 0 ? 0 : sent);
    int waited = c->rest != NULL;
    if (left == 0) {
        free(c->rest);
        c->rest = NULL;
        return waited ? AWAIT_READ : KEEP;
    }
    char *rest = get(left, 1);
    memcpy(rest, p + (n - left), left);
    free(c->rest);
    c->rest = rest, c->len = left;
    return waited ? KEEP : AWAIT_WRITE;
}

static UNUSED int echo_readable(struct conn *c) {
    static char buf[BUF];
    ssize_t n = recv(c->fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return KEEP;
    if (n <= 0) return HANG_UP;
    return echo_write(c, buf, (size_t)n);
}

static UNUSED int echo_writable(struct conn *c) { return echo_write(c, c->rest, c->len); }

static UNUSED void conn_free(struct conn *c) {
    close(c->fd);
    free(c->rest);
    free(c);
}

/* ---- timers ---- */

struct timer_api {
    void (*init)(int n);
    void (*add)(int i, double seconds);
    void (*cancel)(int i);
    void (*run_due)(void); /* calls back what is due now */
};

static long fired;

static double *timer_waits(int n) { /* an hour or two */
    double *d = get((size_t)n, sizeof *d);
    for (int i = 0; i < n; i++) d[i] = 3600 + (double)(rnd() % 3600000000u) / 1e6;
    return d;
}

static double timers_fire(struct timer_api *api, int n, const double *d) {
    /* a nanosecond of deadlines for each timer, all past when the clock is started */
    double spread = n / 1e9;
    fired = 0;
    for (int i = 0; i < n; i++) api->add(i, (d[i] - 3600) / 3600 * spread);
    double all = now() + spread + 0.010; /* libuv's clock has ticks of 1 ms, libevent's those of the kernel */
    while (now() < all) continue;
    double start = busy();
    while (fired < n) api->run_due();
    return busy() - start;
}

static void timers_add_cancel_fire(struct timer_api *api, int n, const double *d, const int *order) {
    double add = 0, cancel = 0, fire = 0;
    int repeat = n < 200000 ? 200000 / n : 1;
    for (int k = 0; k <= repeat; k++) { /* the first is to warm up */
        double t0 = busy();
        for (int i = 0; i < n; i++) api->add(i, d[i]);
        double t1 = busy();
        for (int i = 0; i < n; i++) api->cancel(order[i]);
        double t2 = busy();
        if (k == 0) continue;
        add += t1 - t0, cancel += t2 - t1;
        fire += timers_fire(api, n, d);
    }
    double per = 1e9 / repeat / n;
    out("add", add * per, "ns");
    out("cancel", cancel * per, "ns");
    out("fire", fire * per, "ns");
    out("total", (add + cancel + fire) * per, "ns");
}

static UNUSED void timers_run(struct timer_api *api, int n) {
    double *d = timer_waits(n);
    int *order = permutation(n), churns = n < 200000 ? 200000 : n;
    api->init(n);
    if (n >= 1000) timers_add_cancel_fire(api, n, d, order); /* fewer are nothing beside reading the clock */
    for (int i = 0; i < n; i++) api->add(i, d[i]);
    double start = busy();
    for (int k = 0; k < churns; k++) {
        int i = (int)(rnd() % (uint64_t)n);
        api->cancel(i);
        api->add(i, d[(i + k) % n]);
    }
    out("churn", (busy() - start) * 1e9 / churns, "ns");
}

/* ---- lateness: samples of a time in seconds, reported in microseconds ---- */

static struct {
    int n, max;
    double *s;
} samples;

static UNUSED void samples_open(int max) { samples.s = get((size_t)max, sizeof(double)), samples.max = max; }

/* sample returns 0 when there are enough. */
static UNUSED int sample(double seconds) {
    samples.s[samples.n++] = seconds * 1e6;
    return samples.n < samples.max;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static UNUSED void samples_report(void) {
    qsort(samples.s, (size_t)samples.n, sizeof(double), compare);
    int early = 0;
    while (early < samples.n && samples.s[early] < 0) early++;
    out("p50", samples.s[samples.n / 2], "us");
    out("p99", samples.s[(int)(samples.n * 0.99)], "us");
    out("early", 100.0 * early / samples.n, "%");
}

static UNUSED int is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* busy_ring makes the loop busy: bytes that never stop travelling. */
static UNUSED void busy_ring(void) {
    ring_open(100, 10, 0);
    ring_start();
    ring.to_write = 1L << 60;
}
