/* The backend of the example app "mirror": draws the outlines of the frames that it gets (Sobel's operator).
 *
 * One TCP connection per device; frames go there and back on it, one at a time. All numbers big-endian.
 *   frame:   "SFM1", u32 number, u16 width, u16 height, then width * height bytes of grey
 *   answer:  u32 number, u16 width, u16 height, u64 arrived, u64 begun, u64 done, then as many bytes
 * arrived, begun, done: when the whole frame was here, its turn came, and its answer was ready to go; microseconds
 * of this machine's own clock. A frame of 0 x 0 is answered at once: devices compare clocks by it. Outlines are
 * drawn for one device at a time, as by a machine with one accelerator; that wait is what a busy backend costs.
 *
 * Nothing that devices send is trusted: sizes are bounded, silence ends a connection, so does a frame or an answer
 * that takes too long on its way, and memory is fixed per device. */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 8080, MOST_DEVICES = 8, MOST_BYTES = 1280 * 720, WORK_MOST = 64 };
enum { SILENCE_SECONDS = 60 }; /* between frames */
#ifndef FRAME_SECONDS
#define FRAME_SECONDS 10 /* for all of a frame, or of an answer */
#endif

struct frame { char magic[4]; uint32_t number; uint16_t width, height; } __attribute__((packed));
struct answer { uint32_t number; uint16_t width, height; uint64_t arrived, begun, done; } __attribute__((packed));

static pthread_mutex_t accelerator = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static int devices;
static int work = 1; /* how often an outline is drawn: an app with more to do is stood in for by WORK=n */

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static uint64_t after(int seconds) { return now() + (uint64_t)seconds * 1000000u; }

/* Whether it is ready for these events, or has ended, by then. */
static int ready(int peer, short events, uint64_t until) {
    struct pollfd waiting = {peer, events, 0};
    for (;;) {
        uint64_t moment = now();
        int found = moment < until ? poll(&waiting, 1, (int)((until - moment) / 1000u) + 1) : 0;
        if (found >= 0 || errno != EINTR) return found > 0;
    }
}

static int receive(int peer, void *into, size_t size, uint64_t until) {
    for (char *at = into; size;) {
        ssize_t got = ready(peer, POLLIN, until) ? recv(peer, at, size, MSG_DONTWAIT) : 0;
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return 0;
        at += got;
        size -= (size_t)got;
    }
    return 1;
}

static int give(int peer, const void *from, size_t size, int flags, uint64_t until) {
    for (const char *at = from; size;) {
        ssize_t sent = ready(peer, POLLOUT, until) ? send(peer, at, size, MSG_NOSIGNAL | MSG_DONTWAIT | flags) : 0;
        if (sent < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (sent <= 0) return 0;
        at += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static void outline(const uint8_t *in, uint8_t *out, int width, int height) {
    memset(out, 0, (size_t)width * (size_t)height);
    for (int y = 1; y < height - 1; y++) {
        const uint8_t *a = in + (y - 1) * width, *b = a + width, *c = b + width;
        for (int x = 1; x < width - 1; x++) {
            int across = a[x + 1] + 2 * b[x + 1] + c[x + 1] - a[x - 1] - 2 * b[x - 1] - c[x - 1];
            int down = c[x - 1] + 2 * c[x] + c[x + 1] - a[x - 1] - 2 * a[x] - a[x + 1];
            int edge = abs(across) + abs(down);
            out[y * width + x] = (uint8_t)(edge > 255 ? 255 : edge);
        }
    }
}

static void serve(int peer, uint8_t *in, uint8_t *out) {
    struct frame frame;
    while (ready(peer, POLLIN, after(SILENCE_SECONDS))) {
        uint64_t until = after(FRAME_SECONDS);
        if (!receive(peer, &frame, sizeof frame, until)) return;
        int width = ntohs(frame.width), height = ntohs(frame.height);
        size_t size = (size_t)width * (size_t)height;
        if (memcmp(frame.magic, "SFM1", 4) || size > MOST_BYTES || !receive(peer, in, size, until)) return;
        uint64_t arrived = now(), begun = arrived;
        if (size) {
            pthread_mutex_lock(&accelerator);
            begun = now();
            for (int turn = 0; turn < work; turn++) outline(in, out, width, height);
            pthread_mutex_unlock(&accelerator);
        }
        struct answer answer = {frame.number, frame.width, frame.height,
                                htobe64(arrived), htobe64(begun), htobe64(now())};
        until = after(FRAME_SECONDS);
        if (!give(peer, &answer, sizeof answer, size ? MSG_MORE : 0, until) || !give(peer, out, size, 0, until)) return;
    }
}

static void *device(void *argument) {
    int peer = (int)(intptr_t)argument;
    uint8_t *in = malloc(MOST_BYTES), *out = malloc(MOST_BYTES);
    if (in && out) serve(peer, in, out);
    free(in);
    free(out);
    close(peer);
    pthread_mutex_lock(&guard);
    devices--;
    pthread_mutex_unlock(&guard);
    return NULL;
}

static void welcome(int peer) {
    int one = 1;
    pthread_t thread;
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_mutex_lock(&guard);
    int taken = devices < MOST_DEVICES && !pthread_create(&thread, NULL, device, (void *)(intptr_t)peer);
    if (taken) devices++;
    pthread_mutex_unlock(&guard);
    if (taken) pthread_detach(thread);
    else close(peer);
}

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_port = htons(PORT), .sin6_addr = in6addr_any};
    const char *more = getenv("WORK");
    int one = 1, zero = 0, listening = socket(AF_INET6, SOCK_STREAM, 0);
    if (more && atoi(more) >= 1 && atoi(more) <= WORK_MOST) work = atoi(more);
    if (listening < 0) { /* a machine without IPv6 */
        struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = htons(PORT)};
        listening = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(listening, (struct sockaddr *)&plain, sizeof plain)) return perror("mirror: bind"), 1;
    } else {
        setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        setsockopt(listening, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        if (bind(listening, (struct sockaddr *)&here, sizeof here)) return perror("mirror: bind"), 1;
    }
    if (listen(listening, MOST_DEVICES)) return perror("mirror: listen"), 1;
    signal(SIGTERM, end); /* the first process of a container is not ended by default */
    signal(SIGINT, end);
    for (;;) {
        int peer = accept(listening, NULL, NULL);
        if (peer >= 0) welcome(peer);
        else if (errno != EINTR && errno != ECONNABORTED) usleep(100000); /* such as out of descriptors */
    }
}
