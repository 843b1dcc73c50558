"""What the server answers itself: disco, capabilities, ping, version, time, vCard, private storage."""
import hashlib
import base64
import re

from support.plays import play

INFO = "xmlns='http://jabber.org/protocol/disco#info'"
ITEMS = "xmlns='http://jabber.org/protocol/disco#items'"


def features(reply):
    return {one.get("var") for one in reply[0] if one.tag.endswith("}feature")}


def identities(reply):
    return {(one.get("category"), one.get("type")) for one in reply[0] if one.tag.endswith("}identity")}


@play("disco", "xep0030-3.1")
def the_server_says_what_it_is(stage):
    reply = stage.login("romeo/a").asks(f"<query {INFO}/>", to="{domain}")
    assert ("server", "im") in identities(reply)
    wanted = {"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "urn:xmpp:ping",
              "urn:xmpp:carbons:2", "urn:xmpp:blocking", "jabber:iq:version", "urn:xmpp:time", "vcard-temp", "msgoffline"}
    assert wanted <= features(reply), wanted - features(reply)


@play("disco", "xep0030-3.1")
def every_feature_is_named_once(stage):
    reply = stage.login("romeo/a").asks(f"<query {INFO}/>", to="{domain}")
    named = [one.get("var") for one in reply[0] if one.tag.endswith("}feature")]
    assert len(named) == len(set(named)), sorted(named)


@play("disco", "xep0030-3.2")
def an_unknown_node_is_item_not_found(stage):
    romeo = stage.login("romeo/a")
    for to in ("{domain}", "{romeo}"):
        romeo.asks(f"<query {INFO} node='no-such-node'/>", to=to, error="item-not-found")


@play("disco", "xep0030-4.1")
def the_servers_items_answer_for_themselves(stage):
    romeo = stage.login("romeo/a")
    reply = romeo.asks(f"<query {ITEMS}/>", to="{domain}")
    for item in reply[0]:
        assert identities(romeo.asks(f"<query {INFO}/>", to=item.get("jid"))), item.get("jid")


@play("disco", "xep0030-8")
def an_account_tells_its_owner_what_it_is(stage):
    reply = stage.login("romeo/a").asks(f"<query {INFO}/>", to="{romeo}")
    assert ("account", "registered") in identities(reply) or ("pubsub", "pep") in identities(reply)


@play("disco", "xep0030-8")
def an_account_tells_a_stranger_nothing(stage):
    romeo = stage.login("romeo/a")
    stage.online("juliet/b")
    romeo.asks(f"<query {INFO}/>", to="{juliet}", error="service-unavailable")
    romeo.asks(f"<query {INFO}/>", to="nobody-of-that-name@{domain}", error="service-unavailable")


@play("disco", "xep0030-8")
def an_accounts_items_are_none_to_strangers_as_are_those_of_no_account(stage):
    romeo = stage.login("romeo/a")
    stage.online("juliet/b")
    for to in ("{juliet}", "nobody-of-that-name@{domain}"):
        for node in ("", " node='sins'"):
            reply = romeo.asks(f"<query {ITEMS}{node}/>", to=to)
            assert len(reply[0]) == 0 and reply[0].get("node") == (node and "sins" or None), to


def caps_ver(reply):
    """XEP-0115 §5.1 over a disco#info answer without forms."""
    parts = sorted("/".join((one.get("category"), one.get("type"),
                             one.get("{http://www.w3.org/XML/1998/namespace}lang", ""), one.get("name", "")))
                   for one in reply[0] if one.tag.endswith("}identity"))
    text = "".join(part + "<" for part in parts) + "".join(one + "<" for one in sorted(features(reply)))
    for form in reply[0].iter("{jabber:x:data}x"):
        fields = {field.get("var"): sorted(value.text or "" for value in field.iter("{jabber:x:data}value"))
                  for field in form.iter("{jabber:x:data}field")}
        text += fields.pop("FORM_TYPE")[0] + "<"
        text += "".join(name + "<" + "".join(value + "<" for value in fields[name]) for name in sorted(fields))
    return base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()


@play("caps", "xep0115-6.3")
def the_servers_capabilities_hash_is_that_of_its_disco_answer(stage):
    client = stage.authenticated("romeo")
    caps = client.features.find("{http://jabber.org/protocol/caps}c")
    assert caps is not None and caps.get("hash") == "sha-1"
    client.binds("a")
    reply = client.asks(f"<query {INFO} node='{caps.get('node')}#{caps.get('ver')}'/>", to="{domain}")
    assert caps_ver(reply) == caps.get("ver")


@play("ping", "xep0199-4")
def pings_are_answered(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    for to in (None, "{domain}", "{romeo}"):
        romeo.asks("<ping xmlns='urn:xmpp:ping'/>", to=to)
    romeo.sends("<iq type='get' id='p' to='{juliet/b}'><ping xmlns='urn:xmpp:ping'/></iq>")
    juliet.receives("<iq type='get' id='p' from='{romeo/a}'><ping xmlns='urn:xmpp:ping'/></iq>")
    juliet.sends("<iq type='result' id='p' to='{romeo/a}'/>")
    romeo.receives("<iq type='result' id='p' from='{juliet/b}'/>")


@play("ping", "rfc6120-8.2.3")
def an_answer_comes_from_whom_it_was_asked(stage):
    romeo = stage.online("romeo/a")
    assert romeo.asks("<ping xmlns='urn:xmpp:ping'/>", to="{domain}").get("from") == stage.domain
    assert romeo.asks("<ping xmlns='urn:xmpp:ping'/>").get("from") in (None, stage.script("{romeo}"))


@play("version", "xep0092")
def the_server_tells_its_name_and_version(stage):
    reply = stage.login("romeo/a").asks("<query xmlns='jabber:iq:version'/>", to="{domain}")
    assert reply[0].findtext("{jabber:iq:version}name") and reply[0].findtext("{jabber:iq:version}version")


@play("time", "xep0202")
def the_server_tells_its_time(stage):
    reply = stage.login("romeo/a").asks("<time xmlns='urn:xmpp:time'/>", to="{domain}")
    assert re.fullmatch(r"[+-]\d\d:\d\d|Z", reply[0].findtext("{urn:xmpp:time}tzo"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", reply[0].findtext("{urn:xmpp:time}utc"))


@play("vcard", "xep0054-3.1")
def there_is_no_vcard_at_first(stage):
    romeo = stage.login("romeo/a")
    romeo.sends("<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")
    reply = romeo._take(lambda one: one.get("id") == "v", "an answer", 8)
    assert (reply.get("type") == "result" and (len(reply) == 0 or len(reply[0]) == 0)) or reply.get("type") == "error"


@play("vcard", "xep0054-3.3")
def who_has_no_vcard_looks_like_nobody(stage):
    romeo = stage.login("romeo/a")
    stage.login("juliet/b")
    for to in ("{juliet}", "nobody-of-that-name@{domain}"):
        romeo.asks("<vCard xmlns='vcard-temp'/>", to=to, error="service-unavailable")


@play("vcard", "xep0054-3.2")
def a_vcard_is_kept_and_shown_to_others(stage):
    romeo, juliet = stage.login("romeo/a"), stage.login("juliet/b")
    romeo.sets("<vCard xmlns='vcard-temp'><FN>Romeo Montague</FN><N><FAMILY>Montague</FAMILY></N></vCard>")
    for client, to in ((romeo, None), (romeo, "{romeo}"), (juliet, "{romeo}")):
        reply = client.asks("<vCard xmlns='vcard-temp'/>", to=to)
        assert reply[0].findtext("{vcard-temp}FN") == "Romeo Montague"
        assert reply[0].findtext("{vcard-temp}N/{vcard-temp}FAMILY") == "Montague"


@play("vcard", "xep0054-3.2")
def a_vcard_is_replaced_whole(stage):
    romeo = stage.login("romeo/a")
    romeo.sets("<vCard xmlns='vcard-temp'><FN>One</FN><TITLE>x</TITLE></vCard>")
    romeo.sets("<vCard xmlns='vcard-temp'><FN>Two</FN></vCard>")
    reply = romeo.asks("<vCard xmlns='vcard-temp'/>")
    assert reply[0].findtext("{vcard-temp}FN") == "Two" and reply[0].find("{vcard-temp}TITLE") is None


@play("vcard", "xep0054-3.2")
def nobody_changes_another_ones_vcard(stage):
    romeo, juliet = stage.login("romeo/a"), stage.login("juliet/b")
    romeo.sends("<iq type='set' id='v' to='{juliet}'><vCard xmlns='vcard-temp'><FN>x</FN></vCard></iq>")
    romeo.receives("<iq type='error' id='v'><error/></iq>")
    juliet.sends("<iq type='get' id='own'><vCard xmlns='vcard-temp'/></iq>")
    reply = juliet._take(lambda one: one.get("id") == "own", "an answer", 8)
    assert reply.find(".//{vcard-temp}FN") is None


@play("private", "xep0049")
def private_storage_keeps_what_it_is_given(stage):
    romeo = stage.login("romeo/a")
    notes = "<storage xmlns='storage:rosternotes'><note jid='a@b.example'>hi</note></storage>"
    romeo.sets(f"<query xmlns='jabber:iq:private'>{notes}</query>")
    again = stage.login("romeo/b")
    reply = again.asks("<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'/></query>")
    assert reply.find(".//{storage:rosternotes}note").text == "hi"


@play("vcard", "private", "rfc6120-10.1")
def what_is_asked_behind_a_change_sees_it(stage):
    romeo = stage.login("romeo/a")
    for number in range(5):
        romeo.sends(f"""<iq type='set' id='s{number}'><vCard xmlns='vcard-temp'><FN>{number}</FN></vCard></iq>
            <iq type='get' id='g{number}'><vCard xmlns='vcard-temp'/></iq>
            <iq type='set' id='p{number}'><query xmlns='jabber:iq:private'><n xmlns='urn:example:n'>{number}</n></query></iq>
            <iq type='get' id='h{number}'><query xmlns='jabber:iq:private'><n xmlns='urn:example:n'/></query></iq>""")
        for id in ("g", "h"):
            text = "".join(romeo.receives(f"<iq type='result' id='{id}{number}'/>").itertext())
            assert text == str(number), f"{id}: {text!r} and not {number}"


@play("csi", "xep0352")
def client_state_is_announced_and_taken(stage):
    client = stage.authenticated("romeo")
    assert client.features.find("{urn:xmpp:csi:0}csi") is not None
    client.binds("a")
    client.sends_raw("<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>")
    client.settles()
