"""File upload: XEP-0363, its slots over XMPP and its files over HTTPS."""
import concurrent.futures
import http.client
import os
import socket
import ssl
import time
import urllib.parse

from support.plays import play

UPLOAD = "urn:xmpp:http:upload:0"
INFO = "xmlns='http://jabber.org/protocol/disco#info'"


def unverified():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def http_ask(method, url, body=None, headers=(), path=None):
    """Status, headers (lower case), body."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=10, context=unverified())
    target = path or parts.path + ("?" + parts.query if parts.query else "")
    connection.request(method, target, body, dict(headers))
    reply = connection.getresponse()
    answer = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return answer


class Slot:
    def __init__(self, client, name="cool.jpg", size=1000, type="image/jpeg"):
        kind = f" content-type='{type}'" if type else ""
        reply = client.asks(f"<request xmlns='{UPLOAD}' filename='{name}' size='{size}'{kind}/>", to="upload.{domain}")
        slot = reply.find(f"{{{UPLOAD}}}slot")
        self.put_url = slot.find(f"{{{UPLOAD}}}put").get("url")
        self.get_url = slot.find(f"{{{UPLOAD}}}get").get("url")
        self.type = type

    def puts(self, body, type=None, **headers):
        fields = dict(headers)
        if type or self.type:
            fields["Content-Type"] = type or self.type
        return http_ask("PUT", self.put_url, body, fields.items())[0]

    def gets(self, method="GET", **headers):
        return http_ask(method, self.get_url, None, {k.replace("_", "-"): v for k, v in headers.items()}.items())


def stored(stage, body=b"x" * 1000, name="cool.jpg", type="image/jpeg"):
    slot = Slot(stage.login("romeo/a"), name, len(body), type)
    assert slot.puts(body) == 201
    return slot


def files_of(stage):
    return [file.name for file in (stage.server.data / "files").rglob("*") if file.is_file()]


@play("upload", "xep0363-3")
def the_service_names_its_limit(stage):
    romeo = stage.login("romeo/a")
    items = romeo.asks("<query xmlns='http://jabber.org/protocol/disco#items'/>", to="{domain}")
    assert f"upload.{stage.domain}" in [one.get("jid") for one in items[0]]
    reply = romeo.asks(f"<query {INFO}/>", to="upload.{domain}")
    assert ("store", "file") in {(one.get("category"), one.get("type")) for one in reply[0]}
    assert UPLOAD in {one.get("var") for one in reply[0]}
    fields = {one.get("var"): one[0].text for one in reply.iter("{jabber:x:data}field")}
    assert fields["FORM_TYPE"] == UPLOAD and int(fields["max-file-size"]) > 1000


@play("upload", "xep0363-4")
def what_was_put_is_got_back(stage):
    body = os.urandom(300000)
    slot = stored(stage, body)
    status, headers, got = slot.gets()
    assert status == 200 and got == body
    assert headers["content-type"] == "image/jpeg" and headers["content-length"] == str(len(body))
    assert headers["content-disposition"].startswith("inline")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["access-control-allow-origin"] == "*"


@play("upload", "xep0363-4")
def a_name_of_any_language_stays_whole(stage):
    romeo = stage.login("romeo/a")
    slot = Slot(romeo, "très cool.jpg", 5)
    assert slot.get_url.endswith("/tr%C3%A8s%20cool.jpg")
    assert slot.puts(b"12345") == 201
    assert slot.gets()[2] == b"12345"


@play("upload", "xep0363-6")
def a_file_that_is_too_large_is_refused_with_the_limit(stage):
    romeo = stage.login("romeo/a")
    for size in (10**12, 10**30):
        reply = romeo.asks(f"<request xmlns='{UPLOAD}' filename='a' size='{size}'/>", to="upload.{domain}", error="not-acceptable")
        assert int(reply.find(f".//{{{UPLOAD}}}file-too-large/{{{UPLOAD}}}max-file-size").text) > 0


@play("upload", "xep0363-4")
def a_request_that_makes_no_sense_is_refused(stage):
    romeo = stage.login("romeo/a")
    for attributes in ("size='5'", "filename='' size='5'", "filename='a/../b' size='5'", "filename='..' size='5'",
                       "filename='a'", "filename='a' size='-5'", "filename='a' size='0'", "filename='a' size='five'",
                       "filename='a' size='5' content-type='nothing'"):
        romeo.asks(f"<request xmlns='{UPLOAD}' {attributes}/>", to="upload.{domain}", error="bad-request")


@play("upload", "xep0363-7")
def the_size_must_be_that_of_the_slot(stage):
    romeo = stage.login("romeo/a")
    assert Slot(romeo).puts(b"x" * 999) == 400
    assert Slot(romeo).puts(b"x" * 1001) == 413
    slot = Slot(romeo)
    assert slot.gets()[0] == 404
    assert slot.puts(iter([b"x" * 1000]), **{"Transfer-Encoding": "chunked"}) == 411
    assert slot.puts(b"x" * 1000) == 201


@play("upload", "xep0363-7")
def the_type_must_be_that_of_the_slot(stage):
    romeo = stage.login("romeo/a")
    slot = Slot(romeo)
    assert slot.puts(b"x" * 1000, "text/html") == 415
    assert slot.puts(b"x" * 1000, "IMAGE/jpeg") == 201
    untold = Slot(romeo, type=None)
    assert untold.puts(b"x" * 1000) == 201
    assert untold.gets()[1]["content-type"] == "application/octet-stream"


@play("upload")
def a_slot_takes_one_file(stage):
    slot = stored(stage, b"first")
    assert slot.puts(b"other") == 409
    assert slot.gets()[2] == b"first"


@play("upload")
def of_two_uploads_at_once_one_wins(stage):
    slot = Slot(stage.login("romeo/a"), size=200000)
    bodies = [bytes([number]) * 200000 for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(slot.puts, bodies))
    assert sorted(answers) == [201, 409, 409, 409], answers
    assert slot.gets()[2] == bodies[answers.index(201)]


@play("upload")
def a_slot_cannot_be_forged(stage):
    slot = Slot(stage.login("romeo/a"))
    body = b"x" * 1000
    for old, new in (("s=1000", "s=2000"), ("cool.jpg", "cool.htm"), ("image%2Fjpeg", "text%2Fhtml"), ("&e=", "&e=9"), ("&h=", "&h=0")):
        assert old in slot.put_url, slot.put_url
        assert http_ask("PUT", slot.put_url.replace(old, new), body, {"Content-Type": "image/jpeg"}.items())[0] == 403, old
    assert http_ask("PUT", slot.get_url, body)[0] == 403
    assert slot.puts(body) == 201


@play("upload")
def paths_lead_nowhere_else(stage):
    slot = stored(stage)
    (stage.server.data / "files" / "secret").write_text("secret")
    for path in ("/upload/../secret", "/upload/%2e%2e/secret", "/upload/..%2f..%2fsecret", "/upload/secret", "/upload/",
                 "/upload/" + "a" * 26 + "/..%2f..%2fsecret", "/upload/%2e%2e%2f%2e%2e%2fnode.pid/x"):
        status, _, body = http_ask("GET", slot.get_url, path=path)
        assert status in (400, 404) and b"secret" not in body, (path, status)
    other = slot.get_url.replace("cool.jpg", "other.jpg")
    assert http_ask("GET", other)[0] == 404


@play("upload")
def what_a_browser_would_run_is_an_attachment(stage):
    for name, type, shown in (("a.html", "text/html", "attachment"), ("a.svg", "image/svg+xml", "attachment"),
                              ("a.js", "application/javascript", "attachment"), ("a.xhtml", "application/xhtml+xml", "attachment"),
                              ("a.pdf", "application/pdf", "attachment"), ("a.txt", "text/plain", "inline"),
                              ("a.mp4", "video/mp4", "inline"), ("a.ogg", "audio/ogg", "inline")):
        _, headers, _ = stored(stage, b"<script>", name, type).gets()
        assert headers["content-disposition"].startswith(shown), type
        assert "sandbox" in headers["content-security-policy"]


@play("upload")
def parts_and_heads_of_a_file(stage):
    slot = stored(stage, bytes(range(200)))
    status, headers, body = slot.gets(Range="bytes=10-19")
    assert status == 206 and body == bytes(range(10, 20)) and headers["content-range"] == "bytes 10-19/200"
    assert slot.gets(Range="bytes=500-")[0] == 416
    status, headers, body = slot.gets("HEAD")
    assert status == 200 and body == b"" and headers["content-length"] == "200"
    assert slot.gets(If_None_Match=headers["etag"])[0] == 304


@play("upload")
def scripts_of_other_origins_may_upload(stage):
    slot = Slot(stage.login("romeo/a"))
    status, headers, _ = http_ask("OPTIONS", slot.put_url, None, {"Origin": "https://web.example", "Access-Control-Request-Method": "PUT"}.items())
    assert status in (200, 204) and headers["access-control-allow-origin"] == "*" and "PUT" in headers["access-control-allow-methods"]


@play("upload")
def an_upload_that_breaks_off_leaves_nothing(stage):
    slot = Slot(stage.login("romeo/a"), size=500000)
    before = sorted(files_of(stage))
    parts = urllib.parse.urlsplit(slot.put_url)
    raw = unverified().wrap_socket(socket.create_connection((parts.hostname, parts.port), 10))
    raw.sendall(f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 500000\r\n\r\n".encode())
    raw.sendall(b"x" * 200000)
    deadline = time.monotonic() + 5
    while sorted(files_of(stage)) == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert any(".part" in name for name in files_of(stage))
    raw.close()
    while sorted(files_of(stage)) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sorted(files_of(stage)) == before
    assert slot.gets()[0] == 404
    assert slot.puts(b"y" * 500000) == 201


@play("upload", "restart")
def files_and_slots_outlive_the_node(stage):
    romeo = stage.login("romeo/a")
    slot, later = Slot(romeo, size=5), Slot(romeo, size=5)
    assert slot.puts(b"12345") == 201
    stage.server.kill()
    stage.server.start()
    assert slot.gets()[2] == b"12345"
    assert later.puts(b"67890") == 201


@play("upload")
def nothing_else_is_at_the_service(stage):
    romeo = stage.login("romeo/a")
    romeo.asks("<query xmlns='jabber:iq:version'/>", to="upload.{domain}", error="service-unavailable")
    romeo.asks(f"<request xmlns='{UPLOAD}' filename='a' size='5'/>", to="somebody@upload.{domain}", error="service-unavailable")
