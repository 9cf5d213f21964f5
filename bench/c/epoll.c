/* Bare epoll: what the kernel costs with no loop at all. With the last argument "threaded" the process has a second
 * thread, which does nothing: the kernel then counts references to each descriptor that a call uses, as it must for
 * every Go program. */
#include "common.h"
#include <pthread.h>
#include <sys/epoll.h>

static int ep;
static struct epoll_event events[512];

static void watch(int op, int fd, uint32_t what, void *data) {
    struct epoll_event ev = {.events = what, .data.ptr = data};
    if (epoll_ctl(ep, op, fd, &ev)) die("epoll_ctl");
}

static void ring_poll(void) {
    int n = epoll_wait(ep, events, 512, -1);
    for (int i = 0; i < n; i++) ring_step((int)(intptr_t)events[i].data.ptr);
}

static void chain(int n, int active, int writes, int repeat) {
    ring_open(n, active, writes);
    for (int i = 0; i < n; i++) watch(EPOLL_CTL_ADD, ring.r[i], EPOLLIN, (void *)(intptr_t)i);
    chain_run(repeat, ring_poll);
}

static void accept_all(int ln) {
    for (int fd; (fd = accept_one(ln)) >= 0;) {
        struct conn *c = get(1, sizeof *c);
        c->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static void serve(int port) {
    int ln = listen_on(port);
    watch(EPOLL_CTL_ADD, ln, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(ep, events, 512, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                accept_all(ln);
                continue;
            }
            switch (c->rest ? echo_writable(c) : echo_readable(c)) {
            case AWAIT_READ: watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c); break;
            case AWAIT_WRITE: watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c); break;
            case HANG_UP: conn_free(c); break;
            }
        }
    }
}

static void *sleeper(void *p) {
    pause();
    return p;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    pthread_t t;
    if (is(argv[argc - 1], "threaded") && pthread_create(&t, NULL, sleeper, NULL)) die("pthread_create");
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (is(mode, "chain"))
        chain(arg(argc, argv, 2), arg(argc, argv, 3), arg(argc, argv, 4), arg(argc, argv, 5));
    else if (is(mode, "echo"))
        serve(arg(argc, argv, 2));
    else if (is(mode, "version"))
        printf("cc %s\n", __VERSION__);
    else
        return 2;
    return 0;
}
