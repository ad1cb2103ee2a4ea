/* address.h - a socket address of either family. Pure; any thread. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
} IpopAddress; /* sa_family AF_UNSPEC: none */

socklen_t ipop_address_size(const IpopAddress *address);
bool ipop_address_equal(const IpopAddress *a, const IpopAddress *b); /* with the port */
bool ipop_address_same_ip(const IpopAddress *a, const IpopAddress *b);

uint16_t ipop_address_port(const IpopAddress *address);
void ipop_address_ip(const IpopAddress *address, char ret_ip[static INET6_ADDRSTRLEN]);

/* "192.0.2.1:3478", "[2001:db8::1]:3478". */
#define IPOP_ADDRESS_TEXT_SIZE (INET6_ADDRSTRLEN + 8)
void ipop_address_text(const IpopAddress *address, char ret_text[static IPOP_ADDRESS_TEXT_SIZE]);
