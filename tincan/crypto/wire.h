/* wire.h - every header, size and time of what travels between two tincans, in one place.
 *
 * All integers are big-endian. The first byte of each datagram is 0xf1 to 0xf4: apart from STUN (0 to 3) and TURN's
 * ChannelData (0x40 to 0x4f) on the same port (RFC 7983). The handshake is Noise_IKpsk2 (The Noise Protocol Framework,
 * revision 34, section 7.5); transport, timers and cookies follow WireGuard's paper, sections 5.4 and 6.
 */
#pragma once

#include <stdint.h>

enum {
    IPOP_WIRE_INIT = 0xf1,
    IPOP_WIRE_RESPONSE = 0xf2,
    IPOP_WIRE_COOKIE = 0xf3,
    IPOP_WIRE_DATA = 0xf4,
};

/* 0xf1: initiator's first message.
 *   0 type, 1 suite (IpopSuite), 2..3 zero, 4 sender index, 8 e (32), 40 encrypted static (48),
 *   88 encrypted payload (16 + 16): timestamp (8, microseconds, only ever grows), claims (8, ids.h);
 *   120 mac1 (16), 136 mac2 (16) */
#define IPOP_WIRE_INIT_SIZE 152
#define IPOP_WIRE_INIT_PAYLOAD 16

/* 0xf2: the answer.
 *   0 type, 1 suite, 2..3 zero, 4 sender index, 8 receiver index, 12 e (32), 44 encrypted payload (8 + 16): claims (8);
 *   68 mac1 (16), 84 mac2 (16) */
#define IPOP_WIRE_RESPONSE_SIZE 100
#define IPOP_WIRE_RESPONSE_PAYLOAD 8

/* 0xf3: under load, instead of an answer.
 *   0 type, 1..3 zero, 4 receiver index, 8 nonce (24), 32 encrypted cookie (16 + 16) */
#define IPOP_WIRE_COOKIE_SIZE 64

/* 0xf4: data.
 *   0 type, 1 receiver index (3), 4 counter (8), 12 encrypted frame and its tag (16) */
#define IPOP_WIRE_DATA_HEADER 12
#define IPOP_WIRE_TAG 16
#define IPOP_WIRE_DATA_OVERHEAD (IPOP_WIRE_DATA_HEADER + 1 + IPOP_WIRE_TAG)

/* Indices are random, unique in a process, and fit three bytes; 0 is none. */
#define IPOP_WIRE_INDEX_MAX 0xffffffu

/* A frame is one byte of kind and flags, then what belongs to it. */
enum {
    IPOP_FRAME_PACKET = 0x00,    /* an IP packet */
    IPOP_FRAME_KEEPALIVE = 0x01, /* nothing: confirms a key */
    IPOP_FRAME_PING = 0x02,      /* 8 bytes that come back */
    IPOP_FRAME_PONG = 0x03,      /* the same 8 bytes */
    IPOP_FRAME_BYE = 0x04,       /* nothing: the sender is going away */
    IPOP_FRAME_PROBE = 0x05,     /* which way (4), then zeros up to the length that is tried (tunnel/pmtu.h) */
    IPOP_FRAME_PROBED = 0x06,    /* the answer: which way (4), the length of the datagram that came (4) */
    IPOP_FRAME_REPORT = 0x07,    /* highest counter of a datagram above IPOP_PMTU_BASE (8); the keys are those of the report */
    IPOP_FRAME_PIECE = 0x08,     /* of a packet: identification (2), its length (2), offset (2), bytes (tunnel/pieces.h) */
    IPOP_FRAME_KIND = 0x0f,
    IPOP_FRAME_PARTIAL_CHECKSUM = 0x80, /* the packet's TCP or UDP checksum is only the pseudo-header's */
};

/* Times in microseconds; the clock is ipop_clock_now. */
#define IPOP_REKEY_AFTER (INT64_C(120) * 1000000)
#define IPOP_REJECT_AFTER (INT64_C(180) * 1000000)
#define IPOP_REKEY_AFTER_MESSAGES (UINT64_C(1) << 60)
#define IPOP_REJECT_AFTER_MESSAGES (UINT64_MAX - (UINT64_C(1) << 13))
#define IPOP_COOKIE_LIFETIME (INT64_C(120) * 1000000)
#define IPOP_REPLAY_WINDOW 8192
