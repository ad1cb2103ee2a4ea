/* refuse [segment] [mmsg] [gro] [steer] [uso] [vnet] [bpf] -- PROGRAM [ARGUMENT...]: runs a program on a kernel that refuses these
 * (tests/unit/refuse.h). It keeps this process's id; the supervisor is another process, which ends when it does. */
#include "tests/unit/refuse.h"

#include <err.h>
#include <stdlib.h>

static unsigned refusal(const char *name) {
    static const char *const names[] = {"segment", "mmsg", "gro", "steer", "uso", "vnet", "bpf"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return 1u << i;
    errx(2, "no such refusal: %s", name);
}

/* Takes the descriptor whose number it is told, by that and not by a message: sendmsg may be what has to wait for it. */
static void supervise(pid_t program, int line) {
    int number;
    int process = (int)syscall(SYS_pidfd_open, program, 0);
    if (read(line, &number, sizeof number) != sizeof number)
        exit(0);
    int listener = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    close(process);
    if (listener < 0 || write(line, &number, sizeof number) < 0)
        err(1, "can't supervise");
    close(line);
    refuse_serve(listener);
    exit(0);
}

int main(int argc, char **argv) {
    unsigned what = 0;
    int at = 1, line[2];
    for (; at < argc && strcmp(argv[at], "--") != 0; at++)
        what |= refusal(argv[at]);
    if (argc - at < 2)
        errx(2, "usage: refuse WHAT... -- PROGRAM [ARGUMENT...]");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
        err(1, "socketpair");
    pid_t program = getpid(), supervisor = fork();
    if (supervisor < 0)
        err(1, "fork");
    if (supervisor == 0) {
        close(line[0]);
        supervise(program, line[1]);
    }
    close(line[1]);
    int listener = refuse_install(what); /* close-on-exec; the supervisor has its own */
    if (listener < 0)
        err(1, "seccomp");
    if (write(line[0], &listener, sizeof listener) < 0 || read(line[0], &listener, sizeof listener) <= 0)
        errx(1, "there is no supervisor");
    execvp(argv[at + 1], argv + at + 1);
    err(1, "%s", argv[at + 1]);
}
