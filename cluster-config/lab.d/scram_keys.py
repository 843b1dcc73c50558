"""SCRAM keys (RFC 5802 §3) for many accounts with one password: derived once, written for all."""
import base64
import hashlib
import hmac
import json
import os

ITERATIONS = 4096
MECHANISMS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


def derive(password, salt=None):
    """The `scram` list that `hexactl user import` takes."""
    salt = salt or os.urandom(16)
    encoded = lambda raw: base64.b64encode(raw).decode()
    result = []
    for mechanism, algorithm in MECHANISMS.items():
        salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), salt, ITERATIONS)
        client_key = hmac.new(salted, b"Client Key", algorithm).digest()
        result.append({"mechanism": mechanism, "salt": encoded(salt), "iterations": ITERATIONS,
                       "stored_key": encoded(hashlib.new(algorithm, client_key).digest()),
                       "server_key": encoded(hmac.new(salted, b"Server Key", algorithm).digest())})
    return result


def write(file, domain, count, password):
    """One JSON line for each of user0…user<count-1>."""
    keys = json.dumps(derive(password))
    with open(file, "w") as output:
        for number in range(count):
            output.write(f'{{"jid": "user{number}@{domain}", "scram": {keys}}}\n')
