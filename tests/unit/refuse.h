/* refuse.h - a kernel that refuses what others can do: a seccomp filter on the calling thread, and on what it starts, answers
 * some calls with the error that an older kernel or a poorer device has for them.
 *
 * What a filter can't see, since it is behind a pointer, a supervisor looks at (seccomp_unotify(2)): refuse_install gives the
 * descriptor, and refuse_serve, in another thread or process, answers until nobody is left under the filter.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    REFUSE_SEGMENT = 1, /* UDP_SEGMENT: EIO, as for a device that computes no checksums before Linux 6.11 */
    REFUSE_MMSG = 2,    /* sendmmsg: ENOSYS */
    REFUSE_GRO = 4,     /* UDP_GRO: ENOPROTOOPT, before Linux 5.0 */
    REFUSE_STEER = 8,   /* SO_ATTACH_REUSEPORT_CBPF: EPERM */
    REFUSE_USO = 16,    /* TUNSETOFFLOAD with USO: EINVAL, before Linux 6.2 */
    REFUSE_VNET = 32,   /* TUNSETIFF with IFF_VNET_HDR: EINVAL */
    REFUSE_BPF = 64,    /* bpf(2): EPERM, as in a container */
};

#define REFUSE_TUN_USO 0x60

#define REFUSE_LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* The low half of an argument; none of these has a high one. */
#define REFUSE_LOAD_ARGUMENT(n) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]) + (__BYTE_ORDER == __BIG_ENDIAN ? 4 : 0))
#define REFUSE_UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define REFUSE_RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)
#define REFUSE_ERROR(what, wanted, error) \
    REFUSE_RETURN((wanted) & (what) ? SECCOMP_RET_ERRNO | (error) : SECCOMP_RET_ALLOW)

/* The supervisor's descriptor, -1 when that is not allowed. */
static inline int refuse_install(unsigned what) {
    struct sock_filter code[] = {
        REFUSE_LOAD(nr),
        REFUSE_UNLESS(__NR_bpf, 1),
        REFUSE_ERROR(REFUSE_BPF, what, EPERM),
        REFUSE_UNLESS(__NR_sendmsg, 1),
        REFUSE_RETURN(what & REFUSE_SEGMENT ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW),
        REFUSE_UNLESS(__NR_sendmmsg, 1),
        REFUSE_ERROR(REFUSE_MMSG, what, ENOSYS),
        REFUSE_UNLESS(__NR_setsockopt, 8),
        REFUSE_LOAD_ARGUMENT(1),
        REFUSE_UNLESS(IPPROTO_UDP, 3),
        REFUSE_LOAD_ARGUMENT(2),
        REFUSE_UNLESS(UDP_GRO, 11),
        REFUSE_ERROR(REFUSE_GRO, what, ENOPROTOOPT),
        REFUSE_LOAD_ARGUMENT(2),
        REFUSE_UNLESS(SO_ATTACH_REUSEPORT_CBPF, 8),
        REFUSE_ERROR(REFUSE_STEER, what, EPERM),
        REFUSE_UNLESS(__NR_ioctl, 6),
        REFUSE_LOAD_ARGUMENT(1),
        REFUSE_UNLESS(TUNSETIFF, 1),
        REFUSE_RETURN(what & REFUSE_VNET ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW),
        REFUSE_UNLESS(TUNSETOFFLOAD, 2),
        REFUSE_LOAD_ARGUMENT(2),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, what & REFUSE_USO ? REFUSE_TUN_USO : 0, 1, 0),
        REFUSE_RETURN(SECCOMP_RET_ALLOW),
        REFUSE_RETURN(SECCOMP_RET_ERRNO | EINVAL),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static inline bool refuse_peek(pid_t pid, uint64_t from, void *to, size_t n) {
    struct iovec local = {to, n}, remote = {(void *)(uintptr_t)from, n};
    return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

static inline bool refuse_is_train(pid_t pid, uint64_t message_at) {
    struct msghdr message;
    struct cmsghdr first;
    return refuse_peek(pid, message_at, &message, sizeof message) && message.msg_controllen >= sizeof first &&
           refuse_peek(pid, (uintptr_t)message.msg_control, &first, sizeof first) && first.cmsg_level == IPPROTO_UDP &&
           first.cmsg_type == UDP_SEGMENT;
}

static inline bool refuse_wants_vnet(pid_t pid, uint64_t request_at) {
    struct ifreq request;
    return refuse_peek(pid, request_at, &request, sizeof request) && request.ifr_flags & IFF_VNET_HDR;
}

/* Returns when nobody is left. */
static inline void refuse_serve(int listener) {
    struct pollfd ready = {listener, POLLIN, 0};
    while (poll(&ready, 1, -1) > 0 && ready.revents & POLLIN) {
        struct seccomp_notif asked = {0};
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
            continue; /* who asked is gone */
        struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
        pid_t pid = (pid_t)asked.pid;
        if (asked.data.nr == __NR_sendmsg && refuse_is_train(pid, asked.data.args[1]))
            answer = (struct seccomp_notif_resp){.id = asked.id, .error = -EIO};
        if (asked.data.nr == __NR_ioctl && refuse_wants_vnet(pid, asked.data.args[2]))
            answer = (struct seccomp_notif_resp){.id = asked.id, .error = -EINVAL};
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    close(listener);
}
