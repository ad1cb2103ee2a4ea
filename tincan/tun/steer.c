#include "tincan/tun/steer.h"

#include <glib.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLACES 65536
#define HASH UINT32_C(0x9e3779b1) /* Knuth's multiplicative hash; the upper half of the product counts */

struct IpopSteer {
    uint8_t *table; /* the program's own memory: a byte for each hash */
    int map, program;
};

static int bpf(int command, union bpf_attr *attributes) {
    return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

/* The last 8 bytes of an IPv6 address: what tells overlay addresses apart. */
static uint32_t hash_of(int family, const uint8_t *address) {
    uint32_t words[2] = {0};
    if (family == AF_INET)
        memcpy(words, address, 4);
    else
        memcpy(words, address + 8, 8);
    return (GUINT32_FROM_BE(words[0]) ^ GUINT32_FROM_BE(words[1])) * HASH >> 16;
}

/* The same as a program. */
static int load_program(int map) {
#define OP(op, to, from, jump, value) \
    (struct bpf_insn) { .code = (op), .dst_reg = (to), .src_reg = (from), .off = (jump), .imm = (int)(value) }
#define LOAD(size, offset) OP(BPF_LD | BPF_ABS | (size), 0, 0, 0, offset) /* r0 = of the packet, in host order */
    const struct bpf_insn code[] = {
        OP(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0), /* where LOAD wants the packet */
        LOAD(BPF_B, 0),
        OP(BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_0, 0, 0, 4),
        OP(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 3, 4),
        OP(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 4, 6),
        LOAD(BPF_B, 1),
        OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
        LOAD(BPF_W, 16), /* IPv4 */
        OP(BPF_JMP | BPF_JA, 0, 0, 4, 0),
        LOAD(BPF_W, 32), /* IPv6 */
        OP(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0),
        LOAD(BPF_W, 36),
        OP(BPF_ALU64 | BPF_XOR | BPF_X, BPF_REG_0, BPF_REG_7, 0, 0),
        OP(BPF_ALU | BPF_MUL | BPF_K, BPF_REG_0, 0, 0, HASH),
        OP(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_0, 0, 0, 16),
        OP(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_VALUE, 0, map), OP(0, 0, 0, 0, 0),
        OP(BPF_ALU64 | BPF_ADD | BPF_X, BPF_REG_1, BPF_REG_0, 0, 0),
        OP(BPF_LDX | BPF_MEM | BPF_B, BPF_REG_0, BPF_REG_1, 0, 0),
        OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
    };
#undef LOAD
#undef OP
    return bpf(BPF_PROG_LOAD, &(union bpf_attr){.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
                                                .insns = (uintptr_t)code,
                                                .insn_cnt = G_N_ELEMENTS(code),
                                                .license = (uintptr_t) ""});
}

IpopSteer *ipop_steer_new(void) {
    int map = bpf(BPF_MAP_CREATE, &(union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY,
                                                    .key_size = sizeof(uint32_t),
                                                    .value_size = PLACES,
                                                    .max_entries = 1,
                                                    .map_flags = BPF_F_MMAPABLE});
    if (map < 0)
        return NULL;
    uint8_t *table = mmap(NULL, PLACES, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    int program = table == MAP_FAILED ? -1 : load_program(map);
    if (program >= 0) {
        IpopSteer *steer = g_new(IpopSteer, 1);
        *steer = (IpopSteer){table, map, program};
        return steer;
    }
    if (table != MAP_FAILED)
        munmap(table, PLACES);
    close(map);
    return NULL;
}

void ipop_steer_free(IpopSteer *steer) {
    if (!steer)
        return;
    munmap(steer->table, PLACES);
    close(steer->map);
    close(steer->program);
    g_free(steer);
}

bool ipop_steer_attach(const IpopSteer *steer, int fd) {
    return ioctl(fd, TUNSETSTEERINGEBPF, &steer->program) == 0;
}

void ipop_steer_set(IpopSteer *steer, int family, const uint8_t *address, uint8_t queue) {
    __atomic_store_n(&steer->table[hash_of(family, address)], queue, __ATOMIC_RELAXED);
}
