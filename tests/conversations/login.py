"""SASL and resource binding: RFC 6120 §6, §7; RFC 5802; RFC 6121 §4."""
import base64

from support.client import BIND, SASL, encoded
from support.plays import play
from support.scram import Scram
from support.server import PASSWORD


def auth(mechanism, data):
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{data}</auth>"


@play("login", "rfc6120-6.4.1")
def all_mechanisms_let_the_right_password_in(stage):
    for mechanism in ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"):
        stage.authenticated("romeo", mechanism).binds("x")


@play("login", "rfc5802-6")
def scram_plus_binds_to_the_server_certificate(stage):
    client = stage.secure()
    offered = [name for name in client.mechanisms() if name.endswith("-PLUS")]
    assert "SCRAM-SHA-1-PLUS" in offered and "SCRAM-SHA-256-PLUS" in offered, client.mechanisms()
    client.authenticates(stage.name_of("romeo"), PASSWORD, "SCRAM-SHA-256-PLUS", client.endpoint_binding())
    client.opens().has_features()
    client.binds()


@play("login", "xep0440")
def channel_binding_types_are_listed(stage):
    client = stage.secure()
    listed = [one.get("type") for one in client.features.iter("{urn:xmpp:sasl-cb:0}channel-binding")]
    assert "tls-server-end-point" in listed, listed
    assert "tls-exporter" in listed, listed


@play("login", "rfc5802-6")
def scram_plus_with_wrong_binding_data_fails(stage):
    client = stage.secure()
    scram = Scram("SCRAM-SHA-1-PLUS", stage.name_of("romeo"), PASSWORD, ("tls-server-end-point", b"x" * 32))
    client.sends_raw(auth("SCRAM-SHA-1-PLUS", encoded(scram.first())))
    challenge = client.receives(f"<challenge xmlns='{SASL}'>{{any}}</challenge>")
    client.sends_raw(f"<response xmlns='{SASL}'>{encoded(scram.final(base64.b64decode(challenge.text)))}</response>")
    client.receives(f"<failure xmlns='{SASL}'/>")


@play("login", "rfc5802-6", "lessons")
def a_downgrade_that_hides_plus_is_noticed(stage):
    client = stage.secure()
    assert any(name.endswith("-PLUS") for name in client.mechanisms())
    scram = Scram("SCRAM-SHA-1", stage.name_of("romeo"), PASSWORD, flag="y")
    client.sends_raw(auth("SCRAM-SHA-1", encoded(scram.first())))
    answer = client._take(lambda element: element.tag.startswith(f"{{{SASL}}}"), "an answer", 8)
    if answer.tag.endswith("challenge"):
        client.sends_raw(f"<response xmlns='{SASL}'>{encoded(scram.final(base64.b64decode(answer.text)))}</response>")
        client.fails_to_authenticate("not-authorized")
    else:
        assert answer.tag.endswith("failure")


def scram_fails(stage, name, password):
    client = stage.secure()
    scram = Scram("SCRAM-SHA-1", name, password)
    client.sends_raw(auth("SCRAM-SHA-1", encoded(scram.first())))
    answer = client._take(lambda element: element.tag.startswith(f"{{{SASL}}}"), "an answer", 8)
    assert answer.tag.endswith("challenge"), "a wrong name looks like a wrong password"
    client.sends_raw(f"<response xmlns='{SASL}'>{encoded(scram.final(base64.b64decode(answer.text)))}</response>")
    client.fails_to_authenticate("not-authorized")
    return client


@play("login", "rfc6120-6.5.10")
def a_wrong_password_is_not_authorized(stage):
    scram_fails(stage, stage.name_of("romeo"), "wrong")
    client = stage.secure()
    client.sends_raw(auth("PLAIN", encoded(b"\0" + stage.name_of("romeo").encode() + b"\0wrong")))
    client.fails_to_authenticate("not-authorized")


@play("login", "rfc5802-9")
def an_unknown_name_looks_like_a_wrong_password(stage):
    scram_fails(stage, "nobody-of-that-name", "wrong")
    client = stage.secure()
    client.sends_raw(auth("PLAIN", encoded(b"\0nobody-of-that-name\0wrong")))
    client.fails_to_authenticate("not-authorized")


@play("login", "rfc5802-9")
def an_unknown_name_has_the_same_salt_each_time(stage):
    salts = set()
    for _ in range(2):
        client = stage.secure()
        client.sends_raw(auth("SCRAM-SHA-1", encoded(Scram("SCRAM-SHA-1", "nobody-of-that-name", "x").first())))
        challenge = base64.b64decode(client.receives(f"<challenge xmlns='{SASL}'>{{any}}</challenge>").text).decode()
        salts.add(challenge.split(",")[1])
    assert len(salts) == 1, salts


@play("login", "rfc6120-6.4.4")
def after_a_failure_the_client_may_try_again(stage):
    client = scram_fails(stage, stage.name_of("romeo"), "wrong")
    client.authenticates(stage.name_of("romeo"), PASSWORD)
    client.opens().has_features()
    client.binds()


@play("login", "rfc6120-6.4.5")
def too_many_failures_end_the_stream(stage):
    client = stage.secure()
    for _ in range(12):
        client.sends_raw(auth("PLAIN", encoded(b"\0" + stage.name_of("mallory").encode() + b"\0wrong")))
    client.is_ended(timeout=30)


@play("login", "rfc6120-6.4.5")
def a_client_that_cannot_bind_comes_to_plain(stage):
    """As slixmpp 1.8 does on TLS 1.3: a binding that is not offered, then `y` for each hash, then PLAIN."""
    client = stage.secure()
    for plus, flag in (("-PLUS", "p=tls-unique"), ("", "y")):
        for name in ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"):
            first = f"{flag},,n={stage.name_of('romeo')},r=fyko+d2lbbFgONRv9qkxdawL".encode()
            client.sends_raw(auth(name + plus, encoded(first)))
            client.fails_to_authenticate("not-authorized")
    client.authenticates(stage.name_of("romeo"), PASSWORD, "PLAIN").opens().has_features()
    client.binds()


@play("login", "rfc6120-6.4.5")
def who_does_not_get_on_at_all_is_sent_away(stage):
    client = stage.secure()
    for _ in range(20):
        client.sends_raw(auth("ROT13", "="))
    client.is_ended(timeout=30)


@play("login", "rfc6120-6.5.7")
def an_unknown_mechanism_is_invalid(stage):
    client = stage.secure()
    client.sends_raw(auth("ROT13", "="))
    client.fails_to_authenticate("invalid-mechanism")
    client.sends_raw(f"<auth xmlns='{SASL}'/>")
    client.fails_to_authenticate("invalid-mechanism")


@play("login", "rfc6120-6.5.6")
def what_is_not_base64_is_incorrect_encoding(stage):
    client = stage.secure()
    client.sends_raw(auth("PLAIN", "%%%"))
    client.fails_to_authenticate("incorrect-encoding")


@play("login", "rfc6120-6.5.8")
def a_plain_message_without_its_parts_is_malformed(stage):
    for data in (b"romeo", b"\0romeo", b"\0\0secret", b"\0romeo\0", b"\0a\0b\0c"):
        client = stage.secure()
        client.sends_raw(auth("PLAIN", encoded(data)))
        failure = client.receives(f"<failure xmlns='{SASL}'/>")
        named = failure[0].tag.split("}")[1]
        assert named in ("malformed-request", "not-authorized"), (data, named)


@play("login", "rfc5802-7")
def a_scram_message_that_is_none_is_malformed(stage):
    for data in (b"hello", b"n,,", b"n,,r=abc", b"x,,n=a,r=b", b"n,,m=ext,n=a,r=b", b"n,,n=a=b,r=c", b""):
        client = stage.secure()
        client.sends_raw(auth("SCRAM-SHA-1", encoded(data)))
        failure = client._take(lambda element: element.tag.startswith(f"{{{SASL}}}"), "a failure", 8)
        assert failure.tag.endswith("failure"), (data, failure.tag)


@play("login", "rfc5802-7")
def a_final_message_with_another_nonce_fails(stage):
    client = stage.secure()
    scram = Scram("SCRAM-SHA-1", stage.name_of("romeo"), PASSWORD)
    client.sends_raw(auth("SCRAM-SHA-1", encoded(scram.first())))
    challenge = base64.b64decode(client.receives(f"<challenge xmlns='{SASL}'>{{any}}</challenge>").text)
    answer = scram.final(challenge).decode().replace(",r=", ",r=x")
    client.sends_raw(f"<response xmlns='{SASL}'>{encoded(answer.encode())}</response>")
    client.receives(f"<failure xmlns='{SASL}'/>")


@play("login", "rfc6120-6.5.1")
def an_exchange_can_be_aborted(stage):
    client = stage.secure()
    scram = Scram("SCRAM-SHA-1", stage.name_of("romeo"), PASSWORD)
    client.sends_raw(auth("SCRAM-SHA-1", encoded(scram.first())))
    client.receives(f"<challenge xmlns='{SASL}'>{{any}}</challenge>")
    client.sends_raw(f"<abort xmlns='{SASL}'/>")
    client.fails_to_authenticate("aborted")
    client.authenticates(stage.name_of("romeo"), PASSWORD)


@play("login", "rfc6120-6.3.8")
def acting_for_another_is_refused(stage):
    client = stage.secure()
    name = stage.name_of("romeo")
    data = f"{stage.name_of('juliet')}@{stage.domain}\0{name}\0{PASSWORD}".encode()
    client.sends_raw(auth("PLAIN", encoded(data)))
    failure = client.receives(f"<failure xmlns='{SASL}'/>")
    assert failure[0].tag.split("}")[1] in ("invalid-authzid", "not-authorized")


@play("login", "rfc6120-6.3.8")
def the_own_address_is_a_valid_authorization_identity(stage):
    client = stage.secure()
    name = stage.name_of("romeo")
    client.sends_raw(auth("PLAIN", encoded(f"{name}@{stage.domain}\0{name}\0{PASSWORD}".encode())))
    client.receives(f"<success xmlns='{SASL}'/>")


@play("login", "rfc6120-6.4.2")
def a_mechanism_may_begin_without_an_initial_response(stage):
    client = stage.secure()
    client.sends_raw(f"<auth xmlns='{SASL}' mechanism='PLAIN'/>")
    client.receives(f"<challenge xmlns='{SASL}'/>")
    name = stage.name_of("romeo").encode()
    client.sends_raw(f"<response xmlns='{SASL}'>{encoded(b'' + chr(0).encode() + name + chr(0).encode() + PASSWORD.encode())}</response>")
    client.receives(f"<success xmlns='{SASL}'/>")


@play("login", "rfc6120-6.3.2")
def names_are_prepared(stage):
    client = stage.secure()
    client.authenticates(stage.name_of("romeo").upper(), PASSWORD, "PLAIN")
    client.opens().has_features()
    client.binds("x")
    assert client.jid == stage.script("{romeo/x}"), client.jid


@play("login", "rfc6120-6.4.6")
def nothing_but_a_new_stream_may_follow_success(stage):
    client = stage.secure()
    client.authenticates(stage.name_of("romeo"), PASSWORD)
    client.restarts()
    client.sends_raw("<presence/>").is_ended()


@play("bind", "rfc6120-7.6.1")
def the_server_makes_a_resource_if_none_is_asked_for(stage):
    one, two = stage.login("romeo"), stage.login("romeo")
    first, second = one.jid.split("/", 1), two.jid.split("/", 1)
    assert first[0] == second[0] == stage.script("{romeo}")
    assert first[1] != second[1] and len(first[1]) >= 8


@play("bind", "rfc6120-7.7.1")
def a_resource_that_is_asked_for_is_given(stage):
    assert stage.login("romeo/balcony").jid == stage.script("{romeo/balcony}")


@play("bind", "rfc6120-7.7.1")
def a_resource_may_have_spaces_and_signs(stage):
    client = stage.authenticated("romeo")
    client.binds("Gajim on ☎ &amp; co")
    assert client.jid.endswith("/Gajim on ☎ & co"), client.jid


@play("bind", "rfc6120-7.7.2.2")
def a_second_session_of_a_resource_ends_the_first_with_conflict(stage):
    first = stage.login("romeo/balcony")
    second = stage.login("romeo/balcony")
    if second.jid == first.jid:
        first.stream_error("conflict")
        second.settles()
    else:
        first.settles()


@play("bind", "rfc6120-7.7.2.2", "delivery")
def contacts_see_no_flap_when_a_session_replaces_another(stage):
    stage.friends("romeo", "juliet")
    juliet, first = stage.online("juliet/a"), stage.online("romeo/balcony")
    stage.settles()
    juliet.forgets()
    stage.online("romeo/balcony")
    first.stream_error("conflict")
    juliet.settles()
    juliet.receives("<presence from='{romeo/balcony}'/>")
    juliet.settles()
    last = [element for element in juliet.queue if element.get("from") == stage.script("{romeo/balcony}")]
    assert not last or last[-1].get("type") is None, "the new session's presence is the last word"


@play("bind", "rfc6120-7.6.2.2")
def binding_twice_is_not_allowed(stage):
    romeo = stage.login("romeo/a")
    romeo.sends(f"<iq type='set' id='again'><bind xmlns='{BIND}'><resource>b</resource></bind></iq>")
    romeo.receives("<iq type='error' id='again'><error/></iq>")


@play("bind", "rfc6120-7.7.2.1")
def a_resource_that_is_none_is_a_bad_request(stage):
    client = stage.authenticated("romeo")
    client.sets(f"<bind xmlns='{BIND}'><resource>{'x' * 1100}</resource></bind>", error="bad-request")
    client.binds("good")


@play("bind", "rfc6120-7.1")
def stanzas_before_binding_are_not_authorized(stage):
    client = stage.authenticated("romeo")
    client.sends("<message to='{juliet}' type='chat'><body>x</body></message>")
    client.stream_error("not-authorized")


@play("bind", "rfc3921-3")
def the_old_session_request_is_answered(stage):
    stage.login("romeo/a").sets("<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>")


@play("login", "delivery")
def ten_sessions_of_one_account_live_side_by_side(stage):
    clients = [stage.login(f"romeo/device{number}") for number in range(10)]
    for client in clients:
        client.settles()
