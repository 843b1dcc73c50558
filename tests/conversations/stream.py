"""Streams: RFC 6120 §4, §5 and the limits of §11, §13."""
import socket

from support import xml_match
from support.client import PlayError, TLS
from support.plays import play
from support.server import PASSWORD

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def header(stage, **changes):
    """A stream header with some attributes changed; None leaves one out."""
    attributes = {"to": stage.domain, "version": "1.0", "xmlns": "jabber:client", "xmlns:stream": xml_match.STREAM}
    attributes.update({name.replace("__", ":"): value for name, value in changes.items()})
    text = " ".join(f"{name}='{value}'" for name, value in attributes.items() if value is not None)
    return f"<?xml version='1.0'?><stream:stream {text}>"


def error_of(stage, condition, text, after_header=True):
    client = stage.connect()
    if after_header:
        client.opens().has_features()
        client.sends_raw(text)
    else:
        client.opens(header=text)
    client.stream_error(condition)
    return client


@play("stream", "rfc6120-4.7")
def the_answer_to_a_header_has_from_id_and_version(stage):
    client = stage.connect().opens()
    client.has_features()
    assert client.stream["from"] == stage.domain
    assert client.stream["version"] == "1.0"
    assert len(client.stream["id"]) >= 8, "an id that nobody can guess"


@play("stream", "rfc6120-4.7.3")
def every_stream_has_another_id(stage):
    ids = set()
    for _ in range(5):
        client = stage.connect().opens()
        client.has_features()
        ids.add(client.stream["id"])
    assert len(ids) == 5


@play("stream", "rfc6120-4.7.3")
def the_id_changes_with_the_restart_after_tls(stage):
    client = stage.connect().opens()
    client.has_features()
    first = client.stream["id"]
    client.starts_tls().opens().has_features()
    assert client.stream["id"] != first


@play("stream", "rfc6120-4.7.4")
def the_answer_has_a_language(stage):
    client = stage.connect().opens()
    client.has_features()
    assert client.stream.get(LANG)


@play("stream", "rfc6120-4.7.1")
def the_answer_names_the_initiator_if_he_named_himself(stage):
    client = stage.connect(direct=True)
    client.opens(header=header(stage, **{"from": stage.script("{romeo}")}))
    client.has_features()
    assert client.stream.get("to", "").split("/")[0] in ("", stage.script("{romeo}"))


@play("stream", "rfc6120-4.7.2")
def the_answer_to_a_header_names_the_bare_address(stage):
    for told, expected in (("{romeo/a}", "{romeo}"), ("garbage@@", None)):
        client = stage.connect(direct=True)
        client.opens(header=header(stage, **{"from": stage.script(told)})).has_features()
        assert client.stream.get("to") == (expected and stage.script(expected)), client.stream


@play("stream", "rfc6120-4.9.3.6")
def an_unknown_host_ends_the_stream(stage):
    client = stage.connect().opens(to="elsewhere.example")
    client.stream_error("host-unknown")
    assert client.stream.get("id"), "the stream is opened before the error"


@play("stream", "rfc6120-4.9.3.6")
def a_header_without_to_ends_the_stream(stage):
    client = stage.connect().opens(header=header(stage, to=None))
    error = client._take(lambda element: element.tag.endswith("}error"), "a stream error", 8)
    assert error[0].tag.split("}")[1] in ("host-unknown", "improper-addressing"), xml_match.show(error)
    client.is_ended()


@play("stream", "rfc6120-4.9.1.2")
def the_header_in_front_of_an_error_has_from(stage):
    for text in (header(stage, to="elsewhere.example"), header(stage, to=None), "<hello/>"):
        client = stage.connect().opens(header=text)
        client.is_ended()
        assert client.stream.get("from") in ("", stage.domain), client.stream


@play("stream", "rfc6120-4.7.1")
def the_host_of_a_header_is_prepared(stage):
    stage.connect().opens(to=stage.domain.upper()).has_features()


@play("stream", "rfc6120-4.9.3.10")
def another_stream_namespace_ends_the_stream(stage):
    error_of(stage, "invalid-namespace", header(stage, xmlns__stream="http://wrong.example/"), after_header=False)


@play("stream", "rfc6120-4.9.3.10")
def another_default_namespace_ends_the_stream(stage):
    error_of(stage, "invalid-namespace", header(stage, xmlns="jabber:wrong"), after_header=False)


@play("stream", "rfc6120-4.9.3.1")
def another_root_element_is_bad_format_or_invalid_namespace(stage):
    client = stage.connect().opens(header="<?xml version='1.0'?><hello/>")
    client.is_ended()


@play("stream", "rfc6120-4.9.3.25")
def version_two_is_answered_by_ours(stage):
    client = stage.connect().opens(header=header(stage, version="2.0"))
    client.has_features()
    assert client.stream["version"] == "1.0", "the lower of both"


@play("stream", "rfc6120-4.9.3.25")
def no_version_is_unsupported(stage):
    error_of(stage, "unsupported-version", header(stage, version=None), after_header=False)


@play("stream", "rfc6120-4.9.3.13")
def a_tag_that_does_not_fit_is_not_well_formed(stage):
    error_of(stage, "not-well-formed", "<message><body>x</message>")


@play("stream", "rfc6120-4.9.3.13")
def text_between_stanzas_is_refused_unless_white(stage):
    client = stage.secure()
    client.sends_raw("hello <r/>").is_ended()


@play("stream", "rfc6120-4.9.3.13")
def an_undeclared_prefix_is_not_well_formed(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<foo:bar/>")
    error = client._take(lambda element: element.tag.endswith("}error"), "a stream error", 8)
    names = [child.tag.split("}")[1] for child in error]
    assert "not-well-formed" in names or "bad-namespace-prefix" in names, names


@play("stream", "rfc6120-4.9.3.13")
def a_duplicate_attribute_is_not_well_formed(stage):
    error_of(stage, "not-well-formed", "<message to='a@b' to='c@d'/>")


@play("stream", "rfc6120-4.9.3.22", "rfc6120-11.6")
def bytes_that_are_not_utf8_are_an_unsupported_encoding(stage):
    for text in (b"<message><body>\xff\xfe</body></message>", b"<message><body>\xed\xa0\x80</body></message>", b"<message id='\xc0\xaf'/>"):
        error_of(stage, "unsupported-encoding", text)
    error_of(stage, "not-well-formed", b"<message><body>\xef\xbf\xbf</body></message>")  # U+FFFF: well encoded, no XML


@play("stream", "rfc6120-11.6")
def another_encoding_is_unsupported(stage):
    client = stage.connect().opens(header=header(stage).replace("<?xml version='1.0'?>",
                                                                "<?xml version='1.0' encoding='ISO-8859-1'?>"))
    client.is_ended()


@play("stream", "rfc6120-4.9.3.18", "rfc6120-11.1")
def a_comment_is_restricted_xml(stage):
    error_of(stage, "restricted-xml", "<!-- hello -->")


@play("stream", "rfc6120-4.9.3.18", "rfc6120-11.1")
def a_comment_inside_a_stanza_is_restricted_xml(stage):
    error_of(stage, "restricted-xml", "<message><!-- hello --></message>")


@play("stream", "rfc6120-4.9.3.18", "rfc6120-11.1")
def a_processing_instruction_is_restricted_xml(stage):
    error_of(stage, "restricted-xml", "<?php echo ?>")


@play("stream", "rfc6120-4.9.3.18", "rfc6120-11.1")
def a_doctype_is_restricted_xml(stage):
    text = f"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>" + header(stage).removeprefix("<?xml version='1.0'?>")
    error_of(stage, "restricted-xml", text, after_header=False)


@play("stream", "rfc6120-4.9.3.18", "rfc6120-11.1")
def an_entity_of_its_own_ends_the_stream(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<message><body>&nbsp;</body></message>").is_ended()


@play("stream", "rfc6120-11.1")
def the_five_predefined_entities_and_numbers_pass(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>&lt;&gt;&amp;&apos;&quot;&#65;&#x1F600;</body></message>")
    juliet.receives("<message from='{romeo/a}' type='chat'><body>&lt;&gt;&amp;&apos;&quot;A\U0001F600</body></message>")


@play("stream", "rfc6120-11.5")
def cdata_is_text(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body><![CDATA[<b>&amp;]]></body></message>")
    juliet.receives("<message type='chat'><body>&lt;b&gt;&amp;amp;</body></message>")


@play("stream", "rfc6120-13.12")
def an_endless_stanza_before_login_is_a_policy_violation(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<message><body>" + "x" * 300000)
    client.is_ended()


@play("stream", "rfc6120-13.12")
def a_stanza_over_the_limit_is_a_policy_violation(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{juliet}' type='chat'><body>" + "x" * 1500000 + "</body></message>")
    error = romeo._take(lambda element: element.tag.endswith("}error") or element.tag.endswith("}ended"), "an end", 10)
    if error.tag.endswith("}error"):  # the reset of a socket with unread bytes may outrun it
        assert any("policy-violation" in child.tag for child in error), "policy-violation"


@play("stream", "rfc6120-13.12")
def a_stanza_of_a_hundred_kilobytes_passes(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    body = "x" * 100000
    romeo.sends(f"<message to='{{juliet/b}}' type='chat'><body>{body}</body></message>")
    juliet.receives(f"<message type='chat'><body>{body}</body></message>")


@play("stream", "rfc6120-13.12")
def too_much_depth_is_a_policy_violation(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{juliet}'>" + "<x>" * 5000)
    romeo.is_ended()


@play("stream", "rfc6120-13.12")
def an_endless_attribute_is_a_policy_violation(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<message id='" + "x" * 400000)
    client.is_ended()


@play("stream", "rfc6120-5.3.1")
def a_stanza_before_login_ends_the_stream(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends("<message to='{romeo}'><body>x</body></message>")
    client.stream_error("not-authorized")


@play("stream", "rfc6120-5.3.1")
def tls_is_required_and_alone_before_tls(stage):
    client = stage.connect()
    features = client.opens().has_features()
    assert features.find(f"{{{TLS}}}starttls/{{{TLS}}}required") is not None, "required"
    assert not client.mechanisms(), "no mechanisms without TLS"


@play("stream", "rfc6120-5.4.2.2")
def a_plain_login_before_tls_is_refused(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>")
    answer = client._take(lambda element: True, "an error", 8)
    assert answer.tag.split("}")[1] in ("failure", "error"), xml_match.show(answer)


@play("stream", "rfc6120-5.4.3.3")
def after_tls_there_are_mechanisms_and_no_starttls(stage):
    client = stage.secure()
    assert client.features.find(f"{{{TLS}}}starttls") is None
    assert "SCRAM-SHA-1" in client.mechanisms() and "SCRAM-SHA-256" in client.mechanisms()


@play("stream", "rfc6120-5.3.4")
def what_was_sent_with_starttls_in_one_piece_is_not_taken_as_said_after_it(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw(f"<starttls xmlns='{TLS}'/><message xmlns='jabber:client' to='x@y'/>")
    client.receives(f"<proceed xmlns='{TLS}'/>")
    try:
        client.wraps().opens().has_features()
    except (OSError, PlayError):
        return  # refused: as good
    client.receives_nothing()


@play("stream", "rfc6120-5.4.2.2")
def starttls_in_another_namespace_is_no_starttls(stage):
    client = stage.connect()
    client.opens().has_features()
    client.sends_raw("<starttls xmlns='urn:wrong'/>")
    client.is_ended()


@play("stream", "xep0368")
def the_direct_tls_port_speaks_tls_at_once(stage):
    client = stage.connect(direct=True)
    client.opens().has_features()
    assert client.socket.selected_alpn_protocol() == "xmpp-client"
    assert client.features.find(f"{{{TLS}}}starttls") is None
    assert "SCRAM-SHA-1" in client.mechanisms()


@play("stream", "rfc6120-4.4")
def a_closed_stream_is_closed_by_the_server_too(stage):
    stage.login("romeo/a").closes()


@play("stream", "rfc6120-4.4")
def a_stream_may_be_closed_before_login(stage):
    client = stage.connect()
    client.opens().has_features()
    client.closes()


@play("stream", "rfc6120-4.4")
def what_was_asked_before_the_close_is_answered_before_it(stage):
    ping = f"<iq type='get' id='last' to='{stage.domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
    for manages in (False, True):
        romeo = stage.login("romeo/a")
        if manages:
            romeo.manages_stream()
        romeo.sends_raw("<iq type='get' id='card'><vCard xmlns='vcard-temp'/></iq>" + ping
                        + f"<message id='m' to='nobody-of-that-name@{stage.domain}'><body>x</body></message></stream:stream>")
        romeo.receives("<iq type='{any}' id='card'/>")
        romeo.receives("<iq type='result' id='last'/>")
        romeo.receives("<message type='error' id='m'/>")
        romeo.is_ended()


@play("stream", "rfc6120-4.9.1.1")
def a_stream_error_is_answered_by_the_end_of_the_stream(stage):
    error = "<stream:error><bad-format xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    unbound = stage.connect()
    unbound.opens().has_features()
    for client in (unbound, stage.login("romeo/a")):
        client.sends_raw(error)
        ended = client._take(lambda one: one.tag.endswith(("}ended", "}error")), "the end", 8)
        assert ended.tag.endswith("}ended"), xml_match.show(ended)


@play("stream", "rfc6120-4.6.1")
def white_space_between_stanzas_is_a_keepalive(stage):
    romeo = stage.online("romeo/a")
    romeo.sends_raw(" \n\t ")
    romeo.settles()


@play("stream", "rfc6120-4.9.3.24")
def an_unknown_top_level_element_is_unsupported(stage):
    romeo = stage.login("romeo/a")
    romeo.sends_raw("<foo xmlns='urn:example:foo'/>")
    romeo.stream_error("unsupported-stanza-type")


@play("stream", "rfc6120-4.9.3.9")
def a_from_that_is_another_ones_is_refused(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message from='{juliet}' to='{juliet}'><body>x</body></message>")
    romeo.stream_error("invalid-from")


@play("stream", "rfc6120-8.1.2.1")
def a_from_that_is_the_own_full_or_bare_address_is_accepted(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    for own in ("{romeo/a}", "{romeo}"):
        romeo.sends(f"<message from='{own}' to='{{juliet/b}}' type='chat'><body>{own}</body></message>")
        juliet.receives("<message from='{romeo/a}' type='chat'><body>{any}</body></message>")


@play("stream", "rfc6120-8.1.2.1")
def the_server_stamps_from(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>x</body></message>")
    juliet.receives("<message from='{romeo/a}' to='{juliet/b}' type='chat'><body>x</body></message>")


@play("stream", "rfc6120-8.1.1")
def a_recipient_that_is_no_address_is_jid_malformed(stage):
    romeo = stage.online("romeo/a")
    for bad in ("@example.test", "a@b@c", "romeo@"):
        romeo.sends(f"<message id='m' to='{bad}' type='chat'><body>x</body></message>")
        romeo.receives("<message type='error' id='m'><error type='modify'>"
                       "<jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")


@play("stream", "rfc6120-8.1.1")
def an_empty_recipient_is_none(stage):
    romeo = stage.login("romeo/a")
    romeo.sends("<iq type='get' id='e' to=''><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.receives("<iq type='result' id='e' from='{absent}'/>")


@play("stream", "rfc6120-8.1.5")
def language_is_passed_on(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat' xml:lang='de'><body>Guten Tag</body></message>")
    juliet.receives("<message type='chat' xml:lang='de'><body>Guten Tag</body></message>")


@play("stream", "rfc6120-8.1.5")
def the_language_of_the_stream_is_put_on_stanzas_without_one(stage):
    romeo = stage.connect(direct=True, label="romeo/a")
    german = header(stage, xml__lang="de")
    romeo.opens(header=german).has_features()
    romeo.authenticates(stage.name_of("romeo"), PASSWORD)
    romeo.opens(header=german).has_features()
    romeo.binds("a")
    juliet = stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>Guten Tag</body></message>")
    got = juliet.receives("<message type='chat'><body>Guten Tag</body></message>")
    assert got.get(LANG) == "de", got.attrib
    romeo.sends("<message to='{juliet/b}' type='chat' xml:lang='fr'><body>Bonjour</body></message>")
    got = juliet.receives("<message type='chat'><body>Bonjour</body></message>")
    assert got.get(LANG) == "fr", got.attrib


@play("stream", "rfc6120-10.1")
def stanzas_between_two_clients_arrive_in_order(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("".join(f"<message to='{{juliet/b}}' type='chat'><body>{number}</body></message>" for number in range(200)))
    juliet.receives_in_order(*(f"<message type='chat'><body>{number}</body></message>" for number in range(200)))


@play("stream", "rfc6120-10.1")
def presence_and_messages_keep_their_order(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    stage.settles()
    juliet.forgets()
    romeo.sends("""<presence><status>1</status></presence><message to='{juliet/b}' type='chat'><body>2</body></message>
                   <presence><status>3</status></presence><message to='{juliet/b}' type='chat'><body>4</body></message>""")
    juliet.receives_in_order("<presence><status>1</status></presence>", "<message type='chat'><body>2</body></message>",
                             "<presence><status>3</status></presence>", "<message type='chat'><body>4</body></message>")


@play("stream", "rfc6120-10.4")
def a_foreign_domain_is_remote_server_not_found(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message id='m' to='x@elsewhere.example' type='chat'><body>x</body></message>")
    romeo.receives("<message type='error' id='m' from='x@elsewhere.example'><error type='cancel'>"
                   "<remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    romeo.asks("<ping xmlns='urn:xmpp:ping'/>", to="elsewhere.example", error="remote-server-not-found")


@play("stream", "rfc6120-8.2.3")
def an_iq_without_an_id_type_or_payload_is_a_bad_request(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<iq type='get' id='empty' to='{domain}'/>")
    romeo.receives("<iq type='error' id='empty'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
    romeo.sends("<iq type='get' id='two' to='{domain}'><ping xmlns='urn:xmpp:ping'/><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.receives("<iq type='error' id='two'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
    romeo.sends("<iq type='wrong' id='type' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
    romeo.receives("<iq type='error' id='type'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")


@play("stream", "rfc6120-8.2.3")
def a_result_or_error_nobody_asked_for_gets_no_answer(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<iq type='result' id='r' to='{domain}'/>")
    romeo.sends("<iq type='error' id='e' to='{domain}'><error type='cancel'/></iq>")
    romeo.settles().receives_nothing()


@play("stream", "rfc6120-8.4")
def an_unknown_payload_is_service_unavailable(stage):
    romeo = stage.online("romeo/a")
    for to in (None, "{domain}", "{romeo}"):
        romeo.asks("<query xmlns='urn:example:unknown'/>", to=to, error="service-unavailable")
        romeo.sets("<query xmlns='urn:example:unknown'/>", to=to, error="service-unavailable")


@play("stream", "rfc6120-8.3.1")
def an_error_is_never_answered_with_an_error(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message type='error' to='x@elsewhere.example'><error type='cancel'/></message>")
    romeo.sends("<presence type='error' to='x@elsewhere.example'><error type='cancel'/></presence>")
    romeo.settles().receives_nothing()


@play("stream", "rfc6120-4.3.5")
def stream_features_after_login_have_bind(stage):
    client = stage.authenticated("romeo")
    assert client.features.find("{urn:ietf:params:xml:ns:xmpp-bind}bind") is not None
    assert client.features.find("{urn:xmpp:sm:3}sm") is not None
    assert not client.mechanisms(), "no second login"


@play("stream", "limits")
def who_asks_and_does_not_read_harms_nobody_else(stage):
    for name in ("romeo", "mercutio", "tybalt"):
        deaf = stage.login(f"{name}/deaf")
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = "".join(f"<iq type='get' id='{n}' to='{stage.domain}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
                      for n in range(50))
        for _ in range(400):
            deaf.sends_raw(ask)
            if "could not be sent" in deaf.transcript[-1]:
                break
        deaf.transcript.clear()
        stage.login("juliet/balcony").settles()
