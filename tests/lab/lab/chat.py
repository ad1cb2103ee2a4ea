#!/usr/bin/python3
"""A person's chat client (slixmpp), run as a program of its own, and the handle on it.

chat.py JID PASSWORD HOST PORT CAFILE: prints one JSON object per line for "online", "refused" and "message"; reads
{"to", "body"} lines to send.
"""

import asyncio
import json
import os
import sys

if __name__ != "__main__":
    import subprocess


class Chat:
    """The handle. jid may carry a resource."""

    def __init__(self, world, namespace, jid, password, server, port=5222):
        self._process = namespace.start(f"chat client {jid}", ["/usr/bin/python3", __file__, jid, password, server, port,
                                                               world.authority.cafile],
                                        world.folder("chat") + "/log", stdin=subprocess.PIPE)

    def events(self, kind):
        lines = [line for line in self._process.output().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def wait_online(self):
        self._process.wait_output('"event": "online"')
        return self

    def wait_refused(self):
        self._process.wait_output('"event": "refused"')

    def send(self, to, body):
        self._process.stdin.write(json.dumps(dict(to=to, body=body)).encode() + b"\n")
        self._process.stdin.flush()

    def wait_message(self, body, timeout=10):
        self._process.wait_output(f'"body": "{body}"', timeout)

    def close(self):
        self._process.stop()


def _main():
    from slixmpp import ClientXMPP  # only the program needs it

    jid, password, host, port, cafile = sys.argv[1:]
    client = ClientXMPP(jid, password)
    client.ca_certs = cafile

    def say(event, **members):
        print(json.dumps({"event": event, **members}), flush=True)

    async def session_start(_):
        client.send_presence()
        await client.get_roster()
        say("online", jid=str(client.boundjid))

    waiting = bytearray()

    def read_lines():
        waiting.extend(os.read(0, 65536))
        while b"\n" in waiting:
            line, _, rest = bytes(waiting).partition(b"\n")
            waiting[:] = rest
            order = json.loads(line)
            client.send_message(mto=order["to"], mbody=order["body"], mtype="chat")

    client.add_event_handler("session_start", session_start)
    client.add_event_handler("failed_all_auth", lambda _: say("refused"))
    client.add_event_handler("message", lambda m: say("message", sender=str(m["from"]), body=m["body"]))
    client.connect((host, int(port)))
    asyncio.get_event_loop().add_reader(0, read_lines)
    client.process(forever=True)


if __name__ == "__main__":
    _main()
