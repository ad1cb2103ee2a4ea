"""Prosody, configured as Debian's package comes (10 kB/s for each client, unless told), with an own domain, data and certificate."""

import os

from .coturn import Coturn

_CONFIG = """
run_as_root = true
pidfile = "{dir}/prosody.pid"
data_path = "{dir}/data"
admin_socket = "{dir}/data/prosody.sock"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
interfaces = {{ {interfaces} }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ {tls_port} }}
modules_enabled = {{
  "disco", "roster", "saslauth", "tls", "blocklist", "bookmarks", "carbons", "dialback", "limits", "pep", "private",
  "smacks", "vcard4", "vcard_legacy", "csi_simple", "invites", "invites_adhoc", "invites_register", "ping", "register",
  "time", "uptime", "version", "admin_adhoc", "posix", "external_services"
}}
modules_disabled = {{ "s2s" }}
c2s_require_encryption = true
limits = {{ c2s = {{ rate = "{rate}" }} }}
authentication = "internal_hashed"
ssl = {{ certificate = "{certificate}", key = "{key}" }}
VirtualHost "{domain}"
{external}
VirtualHost "{brief_domain}"
modules_enabled = {{ "turn_external" }}
turn_external_host = "{host}"
turn_external_port = {secret_port}
turn_external_secret = "{secret}"
turn_external_ttl = {lifetime}
"""

_EXTERNAL = """
external_services = {{
  {{ type = "stun", transport = "udp", host = "{host}", port = {port} }},
  {{ type = "turn", transport = "udp", host = "{host}", port = {port}, username = "{user}", password = "{password}" }},
  {{ type = "turn", transport = "tcp", host = "{host}", port = {port}, username = "{user}", password = "{password}" }},
}}
"""


class Prosody:
    """coturn: the server that accounts are told of (XEP-0215); None for none. Those of the domain brief. are told of one with
    credentials that live for LIFETIME seconds."""

    PORT, TLS_PORT, LIFETIME = 5222, 5223, 10

    def __init__(self, host, directory, domain, authority, coturn=None, rate="10kb/s"):
        os.makedirs(f"{directory}/data")
        self.host, self.domain, self.brief_domain = host, domain, f"brief.{domain}"
        self._config, self._log = f"{directory}/prosody.cfg.lua", f"{directory}/prosody.log"
        certificate, key = authority.issue(domain, self.brief_domain)
        external = coturn and _EXTERNAL.format(host=host.addresses[0], port=coturn.PORT, user=coturn.USER,
                                               password=coturn.PASSWORD)
        with open(self._config, "w", encoding="utf-8") as f:
            f.write(_CONFIG.format(rate=rate, brief_domain=self.brief_domain, host=host.addresses[0], secret_port=Coturn.SECRET_PORT,
                                   secret=Coturn.SECRET, lifetime=self.LIFETIME, dir=directory, domain=domain, certificate=certificate, key=key, port=self.PORT,
                                   tls_port=self.TLS_PORT, external=external or "",
                                   interfaces=", ".join(f'"{a}"' for a in host.addresses)))
        self._accounts = 0
        self.process = None
        self.start()

    def start(self):
        self.process = self.host.ns.start("prosody", ["prosody", "-F", "--config", self._config], self._log)
        self.process.wait_output(r"Activated service 'c2s_direct_tls' on .*\n", 20)

    def stop(self):
        self.process.stop()

    def account(self, label="ipop", domain=None):
        """A new account: (bare JID, password)."""
        domain = domain or self.domain
        self._accounts += 1
        user, password = f"{label}{self._accounts}", f"word-{self._accounts}-of-{label}"
        self.host.ns.run("prosodyctl", "--config", self._config, "register", user, domain, password)
        return f"{user}@{domain}", password
