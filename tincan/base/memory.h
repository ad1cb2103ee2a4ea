/* memory.h - giving back what starting up needed. */
#pragma once

/* Returns freed heap to the system and lets go of the pages of program text that are resident: loading some forty
 * libraries touches several MiB that are never run again, and what is run comes back from the page cache. Any thread;
 * takes a millisecond. To be called when things have settled, not regularly. */
void ipop_memory_settle(void);
