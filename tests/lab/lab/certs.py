"""A certificate authority of the lab's own, and server certificates by it."""

import os

from .shell import run

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    def __init__(self, directory, name="Lab CA"):
        os.makedirs(directory)
        self._directory = directory
        self.cafile = f"{directory}/ca.crt"
        self._key = f"{directory}/ca.key"
        run("openssl", "req", "-x509", *_EC, "-days", "30", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.cafile,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        os.chmod(self.cafile, 0o644)

    def issue(self, *domains):
        """Returns the paths of certificate and key for the domains."""
        stem = f"{self._directory}/{domains[0]}"
        names = ",".join(f"DNS:{d}" for d in domains)
        with open(f"{stem}.ext", "w", encoding="ascii") as f:
            f.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "req", *_EC, "-subj", f"/CN={domains[0]}", "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
        run("openssl", "x509", "-req", "-in", f"{stem}.csr", "-CA", self.cafile, "-CAkey", self._key, "-CAcreateserial",
            "-days", "30", "-extfile", f"{stem}.ext", "-out", f"{stem}.crt")
        return f"{stem}.crt", f"{stem}.key"
