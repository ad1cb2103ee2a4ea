/* tool.h - what all commands of `ipop` are given, and the commands. One thread but for the login of check.
 *
 * Commands return the exit status: 0 good, 1 the thing asked about is not well, 2 wrong usage or nothing answers. All that
 * they print goes through text.h, since most of it was said by peers and servers.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#define IPOP_TOOL_GOOD 0
#define IPOP_TOOL_BAD 1
#define IPOP_TOOL_USAGE 2

typedef struct {
    FILE *out, *err;
    int port;
    char *state_dir;
    char *runtime_dir;
    bool json;
    int count;    /* ping -c */
    char *config; /* check -c */
    char *forget; /* key --forget */
} IpopTool;

/* The whole program but for main: parses the arguments, runs the command, returns the exit status. --help and --version
 * write to standard output and --help exits. */
int ipop_tool_run(int argc, char *const *argv, FILE *out, FILE *err);

/* operand: the peer for why and ping, else NULL. */
int ipop_cmd_status(const IpopTool *tool, const char *operand);
int ipop_cmd_peers(const IpopTool *tool, const char *operand);
int ipop_cmd_why(const IpopTool *tool, const char *operand);
int ipop_cmd_ping(const IpopTool *tool, const char *operand);
int ipop_cmd_key(const IpopTool *tool, const char *operand);
int ipop_cmd_check(const IpopTool *tool, const char *operand);
