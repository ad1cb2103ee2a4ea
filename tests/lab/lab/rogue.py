"""A Jabber server that does what a test tells it: a small honest one (TLS, SCRAM, bind, presences of the account to all its
resources, IQs to full JIDs), where everything that passes can be changed, and anything can be sent to anybody.

It runs in threads of the test; its socket is in the namespace given.
"""

import base64
import hashlib
import hmac
import os
import queue
import re
import socket
import ssl
import threading
import time
import xml.parsers.expat
from xml.sax.saxutils import escape, quoteattr

from .wait import wait_for

_STREAM = ("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
           "version='1.0' from={domain} id={id}>")
_TLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class Stanza:
    """One element as it came, with the attributes of its root."""

    def __init__(self, text):
        self.text = text
        head = re.match(r"<([^\s/>]+)([^>]*?)/?>", text)
        self.name = head[1]
        self.attributes = {name: value for name, _, value in re.findall(r"([\w:]+)\s*=\s*(['\"])(.*?)\2", head[2])}

    def sent_by(self, jid):
        """The text with this sender."""
        return re.sub(r"^<(\S+?)(?=[\s/>])", lambda m: f"<{m[1]} from={quoteattr(jid)}",
                      re.sub(r"^(<[^>]*?)\sfrom\s*=\s*(?:'[^']*'|\"[^\"]*\")", r"\1", self.text), count=1)


class Client:
    """One connection."""

    def __init__(self, server, connection):
        self.server, self.jid, self.presence = server, None, None
        self._connection = connection
        self._lock = threading.Lock()
        self._stanzas, self._parser = [], None

    # --- bytes

    def send(self, text):
        """Whatever it is; False when the client is gone."""
        try:
            with self._lock:
                self._connection.sendall(text.encode() if isinstance(text, str) else text)
            return True
        except (OSError, ValueError):
            return False

    def close(self):
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _open_stream(self, features):
        """Waits for the client's stream header and answers it."""
        self._parser = xml.parsers.expat.ParserCreate()
        self._parser.StartElementHandler = self._on_start
        self._parser.EndElementHandler = self._on_end
        self._data, self._depth = bytearray(), 0
        self._base = self._begin = self._done = 0  # positions in the stream: of _data, of the stanza being read, of the last one's end
        while self._depth == 0:
            self._receive()
        self.send(_STREAM.format(domain=quoteattr(self.server.domain), id=quoteattr(os.urandom(8).hex())) +
                  f"<stream:features>{features}</stream:features>")

    def _receive(self):
        data = self._connection.recv(65536)
        if not data:
            raise EOFError
        self._data += data
        self._parser.Parse(data)
        del self._data[:self._done - self._base]
        self._base = self._done

    def _on_start(self, *_):
        if self._depth == 1:
            self._begin = self._parser.CurrentByteIndex
        self._depth += 1
        self._empty = True

    def _on_end(self, _):
        self._depth -= 1
        if self._depth == 0:
            raise EOFError
        if self._depth == 1:
            here = self._parser.CurrentByteIndex - self._base  # of </name>, or the end of <name/>
            empty = self._empty and self._data[here - 2:here] == b"/>"
            end = here if empty else self._data.index(b">", here) + 1
            self._stanzas.append(Stanza(self._data[self._begin - self._base:end].decode()))
            self._done = self._base + end
        self._empty = False

    def next(self):
        while not self._stanzas:
            self._receive()
        return self._stanzas.pop(0)

    # --- the login

    def log_in(self):
        self._open_stream(_TLS)
        self.next()
        self.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        self._connection = self.server.context.wrap_socket(self._connection, server_side=True)
        self._open_stream(f"<mechanisms xmlns='{_SASL}'>" +
                          "".join(f"<mechanism>{name}</mechanism>" for name in self.server.mechanisms) + "</mechanisms>")
        user = self._scram()
        self._open_stream("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
        bind = self.next()
        resource = re.search(r"<resource>(.*?)</resource>", bind.text)
        self.jid = f"{user}@{self.server.domain}/{resource[1] if resource else os.urandom(4).hex()}"
        self.send(f"<iq type='result' id={quoteattr(bind.attributes['id'])}><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                  f"<jid>{escape(self.jid)}</jid></bind></iq>")

    def _scram(self):
        """RFC 5802; the user's name."""
        auth = self.next()
        name = _HASHES[auth.attributes["mechanism"]]

        def mac(key, text):
            return hmac.new(key, text, name).digest()

        first = base64.b64decode(re.search(r">(.*)<", auth.text)[1]).decode()
        bare = first.split(",", 2)[2]
        fields = dict(part.split("=", 1) for part in bare.split(","))
        salt = os.urandom(16)
        challenge = f"r={fields['r']}{os.urandom(12).hex()},s={base64.b64encode(salt).decode()},i=4096"
        self.send(f"<challenge xmlns='{_SASL}'>{base64.b64encode(challenge.encode()).decode()}</challenge>")
        final = base64.b64decode(re.search(r">(.*)<", self.next().text)[1]).decode()
        without_proof, proof = final.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac(name, self.server.password.encode(), salt, 4096)
        key = mac(salted, b"Client Key")
        message = f"{bare},{challenge},{without_proof}".encode()
        signature = mac(hashlib.new(name, key).digest(), message)
        if bytes(a ^ b for a, b in zip(key, signature)) != base64.b64decode(proof):
            self.send(f"<failure xmlns='{_SASL}'><not-authorized/></failure>")
            raise EOFError
        verifier = base64.b64encode(b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), message))).decode()
        self.send(f"<success xmlns='{_SASL}'>{verifier}</success>")
        return fields["n"]


class Rogue:
    """change: a function of (client, stanza) called for each stanza that passes; it returns the text to pass on in its place,
    or None to have it vanish. after_login: a function of the client, called when it is logged in. services: a function that
    gives the payload of the answer to XEP-0215; None for none. latency: how many seconds an IQ is under way to another node."""

    def __init__(self, world, address, port, domain="rogue.test"):
        self.domain, self.address, self.port = domain, address, port
        self.user, self.password = "node", "the rogue knows it"
        self.mechanisms = ("SCRAM-SHA-256", "SCRAM-SHA-1")
        self.change = self.after_login = self.services = None
        self.latency = self.logins = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*world.authority.issue(domain))
        self._clients, self._lock, self._resources = [], threading.Lock(), {}
        self._under_way = queue.SimpleQueue()
        self._listener = world.broker.ns.socket(kind=socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(64)
        self._threads = []
        self._start(self._accept)
        self._start(self._deliver)

    @property
    def account(self):
        return f"{self.user}@{self.domain}", self.password

    def keys(self):
        """What a node's configuration needs to come here."""
        return dict(account=self.account, xmpp_host=self.address, xmpp_port=self.port)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._under_way.put(None)
        for client in self.clients():
            client.close()
        for thread in self._threads:
            thread.join(5)

    # --- who is there

    def clients(self):
        with self._lock:
            return list(self._clients)

    def client(self, node):
        """The connection of a lab node."""
        if node not in self._resources:
            self._resources[node] = f"/ipop-{node.uid[:8]}"
        return wait_for(f"{node.name} is logged in", lambda: next(
            (c for c in self.clients() if c.presence and c.jid.endswith(self._resources[node])), None))

    # --- at work

    def _start(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._serve, Client(self, connection))

    def _serve(self, client):
        with self._lock:
            self._clients.append(client)
        try:
            client.log_in()
            self.logins += 1
            if self.after_login:
                self.after_login(client)
            while True:
                self._route(client, client.next())
        except (OSError, EOFError, xml.parsers.expat.ExpatError):
            pass
        finally:
            with self._lock:
                self._clients.remove(client)
            client.close()
            if client.presence:
                self._broadcast(f"<presence type='unavailable' from={quoteattr(client.jid)}/>")

    def _deliver(self):
        """Each as late as it should be, in the order they came."""
        while (item := self._under_way.get()):
            due, client, text = item
            time.sleep(max(0, due - time.monotonic()))
            client.send(text)

    def _broadcast(self, text):
        for other in self.clients():
            if other.presence:
                other.send(text)

    def _route(self, client, stanza):
        text = self.change(client, stanza) if self.change else stanza.text
        if text is None:
            return
        stanza = Stanza(text)
        if stanza.name == "presence":
            first = client.presence is None
            client.presence = stanza.sent_by(client.jid)
            for other in self.clients():
                if first and other is not client and other.presence:
                    client.send(other.presence)
            self._broadcast(client.presence)
        elif stanza.name == "iq":
            self._route_iq(client, stanza)

    def _route_iq(self, client, stanza):
        to, kind = stanza.attributes.get("to", ""), stanza.attributes["type"]
        other = next((c for c in self.clients() if c.jid == to and c.presence), None)
        if other:
            self._under_way.put((time.monotonic() + self.latency, other, stanza.sent_by(client.jid)))
        elif kind in ("get", "set"):
            ping = "urn:xmpp:ping" in stanza.text and to == self.domain
            asked = self.services and "urn:xmpp:extdisco:2" in stanza.text and to == self.domain
            payload = self.services() if asked else None
            head = f"from={quoteattr(to)} to={quoteattr(client.jid)} id={quoteattr(stanza.attributes['id'])}"
            client.send(f"<iq type='result' {head}>{payload or ''}</iq>" if ping or payload else
                        f"<iq type='error' {head}><error type='cancel'><service-unavailable "
                        "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
