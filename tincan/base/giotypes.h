/* giotypes.h - GIO in more than one thread. */
#pragma once

/* Makes GLib's classes of sockets, addresses and lookups known, in one thread. Up to GLib 2.76 two threads that meet such a class
 * for the first time at the same moment can wait for each other for ever: one sets up a class and needs the type that the other
 * is just registering, whose interfaces need the lock of the first. Call it before a name is looked up (GLib does that in threads
 * of its own) and before a thread starts that uses GIO. Any thread, any number of times. */
void ipop_giotypes_init(void);
