/*
 * spy: reads one secret bit from /in/secret ("0" or "1") and tries to tell it to the operator by the channel it is
 * given. Whatever it does, the operator sees one status of a closed list: tests run it both ways on every channel.
 *
 *   spy exit | code | trap | fuel | spin | memory | depth | stdout | stderr | output | flood | name | probe | clock | random
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

static int deep(int n) {
    sink += (uint64_t)n;
    return n == 0 ? 0 : deep(n - 1) + (int)(sink & 1);
}

static void tell(int file, int bit) { (void)!write(file, bit ? "1\n" : "0\n", 2); }

static void burn(uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++) sink += i;
}

int main(int count, char **arguments) {
    char secret = 0;
    int file = open("/in/secret", O_RDONLY);
    if (file < 0 || read(file, &secret, 1) != 1 || count != 2) return 64;
    int bit = secret == '1';
    const char *channel = arguments[1];
    int result = open("/out/result", O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (strcmp(channel, "exit") == 0) return bit;
    if (strcmp(channel, "code") == 0) return 40 + bit;
    if (strcmp(channel, "trap") == 0 && bit) __builtin_trap();
    if (strcmp(channel, "fuel") == 0) burn(bit ? 1000000 : 1);
    if (strcmp(channel, "spin") == 0 && bit)
        for (;;) sink++;
    if (strcmp(channel, "memory") == 0 && bit) {
        for (;;) {
            char *more = malloc(1 << 20);
            if (more == NULL) abort();
            *(volatile char *)more = 1;
        }
    }
    if (strcmp(channel, "depth") == 0 && bit) deep(1 << 30);
    if (strcmp(channel, "stdout") == 0) tell(1, bit);
    if (strcmp(channel, "stderr") == 0) tell(2, bit);
    if (strcmp(channel, "output") == 0) tell(result, bit);
    if (strcmp(channel, "flood") == 0 && bit)
        while (write(result, arguments[0], 4) == 4) {}
    if (strcmp(channel, "name") == 0) open(bit ? "/out/it-is-1" : "/out/it-is-0", O_WRONLY | O_CREAT, 0600);
    if (strcmp(channel, "probe") == 0) open(bit ? "/in/../../etc/passwd" : "/tmp/x", O_RDONLY);
    if (strcmp(channel, "clock") == 0) {
        struct timespec until, now;
        clock_gettime(CLOCK_MONOTONIC, &until);
        do clock_gettime(CLOCK_MONOTONIC, &now);
        while (now.tv_nsec - until.tv_nsec < (bit ? 5000000 : 10));
    }
    if (strcmp(channel, "random") == 0) {
        static char bytes[1 << 16];
        getentropy(bytes, bit ? 256 : 1);
    }
    return 0;
}
