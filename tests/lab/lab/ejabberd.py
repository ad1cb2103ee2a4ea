"""ejabberd, with Debian's shapers and limits, its own STUN and TURN server (which it tells its users of), its own folders, and no
Erlang distribution (so no epmd and no node name)."""

import glob
import json
import os

_CONFIG = """
loglevel: info
hosts: [ "{domain}" ]
certfiles: [ "{certificate}", "{key}" ]
ca_file: "{cafile}"
listen:
  - {{ port: 5222, ip: "::", module: ejabberd_c2s, max_stanza_size: 262144, shaper: c2s_shaper, access: c2s,
       starttls_required: true }}
  - {{ port: 5223, ip: "::", module: ejabberd_c2s, max_stanza_size: 262144, shaper: c2s_shaper, access: c2s, tls: true }}
  - {{ port: 3478, ip: "{address}", transport: udp, module: ejabberd_stun, use_turn: true, turn_ipv4_address: "{address}" }}
  - {{ port: 3478, ip: "{address}", transport: tcp, module: ejabberd_stun, use_turn: true, turn_ipv4_address: "{address}" }}
  - {{ port: 5280, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{ /api: mod_http_api }} }}
disable_sasl_mechanisms: [ "digest-md5", "X-OAUTH2" ]
auth_password_format: scram
acl: {{ local: {{ user_regexp: "" }}, loopback: {{ ip: [ 127.0.0.0/8 ] }} }}
access_rules: {{ local: {{ allow: local }}, c2s: {{ deny: blocked, allow: all }} }}
api_permissions: {{ "lab": {{ who: {{ ip: 127.0.0.1/8 }}, what: [ register, status ] }} }}
shaper: {{ normal: {{ rate: 3000, burst_size: 20000 }}, fast: 100000 }}
shaper_rules:
  max_user_sessions: 10
  max_user_offline_messages: {{ 100: all }}
  c2s_shaper: {{ normal: all }}
modules:
  mod_adhoc: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_disco: {{}}
  mod_offline: {{ access_max_user_messages: max_user_offline_messages }}
  mod_ping: {{}}
  mod_pubsub: {{ plugins: [ flat, pep ] }}
  mod_roster: {{}}
  mod_stun_disco: {{}}
  mod_stream_mgmt: {{ resend_on_timeout: if_offline }}
  mod_version: {{}}
"""

_REGISTER = """
import sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:5280/api/register", sys.argv[1].encode())
request.add_header("Content-Type", "application/json")
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).read()
"""


class Ejabberd:
    PORT, TLS_PORT = 5222, 5223

    def __init__(self, host, directory, domain, authority):
        for sub in ("log", "spool"):
            os.makedirs(f"{directory}/{sub}")
        self.host, self.domain = host, domain
        certificate, key = authority.issue(domain)
        with open(f"{directory}/ejabberd.yml", "w", encoding="utf-8") as f:
            f.write(_CONFIG.format(domain=domain, certificate=certificate, key=key, cafile=authority.cafile,
                                   address=host.addresses[0]))
        libs = os.path.dirname(glob.glob("/usr/lib/*/ejabberd-*")[0])
        # -extra keeps what follows from ejabberd; without a name there is no distribution.
        self._argv = ["env", f"ERL_LIBS={libs}", f"EJABBERD_CONFIG_PATH={directory}/ejabberd.yml",
                      f"HOME={directory}", f"EJABBERD_LOG_PATH={directory}/log/ejabberd.log", "ERL_CRASH_DUMP_BYTES=0",
                      "erl", "-noinput", "+P", "250000", "-mnesia", "dir", f'"{directory}/spool"', "-s", "ejabberd"]
        self._log = f"{directory}/ejabberd.out"
        self._accounts = 0
        self.process = None
        self.start()

    def start(self):
        self.process = self.host.ns.start("ejabberd", self._argv, self._log)
        for listener in (r"TCP.* at \[::\]:5222", r"TLS.* at \[::\]:5223", r"TCP.* at 127.0.0.1:5280"):
            self.process.wait_output("Start accepting " + listener, 60)

    def stop(self):
        self.process.stop()

    def account(self, label="ipop"):
        """A new account: (bare JID, password)."""
        self._accounts += 1
        user, password = f"{label}{self._accounts}", f"word-{self._accounts}-of-{label}"
        data = json.dumps(dict(user=user, host=self.domain, password=password))
        self.host.ns.run("/usr/bin/python3", "-c", _REGISTER, data)
        return f"{user}@{self.domain}", password
