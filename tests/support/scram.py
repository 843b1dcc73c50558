"""The client's side of SCRAM (RFC 5802, RFC 7677), small enough to bend in a test."""
import base64
import functools
import hashlib
import hmac
import os

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


@functools.lru_cache(maxsize=4096)
def _salted(algorithm, password, salt, iterations):
    return hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, iterations)


def _xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


class Scram:
    """One exchange. `binding`: (type, data) for -PLUS; `flag`: "n" (no binding), "y" (could, server cannot)."""

    def __init__(self, mechanism, name, password, binding=None, flag="n"):
        self.algorithm = HASHES[mechanism.removesuffix("-PLUS")]
        self.password = password
        self.nonce = base64.b64encode(os.urandom(18)).decode()
        self.header = (f"p={binding[0]}" if binding else flag) + ",,"
        self.binding = binding[1] if binding else b""
        self.bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r={self.nonce}"
        self.server_signature = None

    def first(self):
        return (self.header + self.bare).encode()

    def final(self, challenge):
        """The answer to the server's first message; the nonce must begin with ours."""
        told = dict(part.split("=", 1) for part in challenge.decode().split(","))
        assert told["r"].startswith(self.nonce) and len(told["r"]) > len(self.nonce), "the server's nonce is not ours"
        salted = _salted(self.algorithm, self.password, base64.b64decode(told["s"]), int(told["i"]))
        key = hmac.new(salted, b"Client Key", self.algorithm).digest()
        stored = hashlib.new(self.algorithm, key).digest()
        without = "c=" + base64.b64encode(self.header.encode() + self.binding).decode() + ",r=" + told["r"]
        signed = f"{self.bare},{challenge.decode()},{without}".encode()
        proof = _xor(key, hmac.new(stored, signed, self.algorithm).digest())
        server_key = hmac.new(salted, b"Server Key", self.algorithm).digest()
        self.server_signature = hmac.new(server_key, signed, self.algorithm).digest()
        return (without + ",p=" + base64.b64encode(proof).decode()).encode()

    def check(self, success):
        """The server proved that it knows the keys too."""
        assert success == b"v=" + base64.b64encode(self.server_signature), "the server's signature is wrong"
