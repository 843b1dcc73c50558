"""Blocking: XEP-0191."""
from support.client import condition_of
from support.plays import play

BLOCKING = "xmlns='urn:xmpp:blocking'"


def block(*jids):
    return f"<block {BLOCKING}>" + "".join(f"<item jid='{jid}'/>" for jid in jids) + "</block>"


def unblock(*jids):
    return f"<unblock {BLOCKING}>" + "".join(f"<item jid='{jid}'/>" for jid in jids) + "</unblock>"


def blocked(client):
    return sorted(one.get("jid") for one in client.asks(f"<blocklist {BLOCKING}/>")[0])


@play("blocking", "xep0191-3.2")
def the_list_is_empty_at_first_and_keeps_what_is_blocked(stage):
    romeo = stage.online("romeo/a")
    assert blocked(romeo) == []
    romeo.sets(block("{juliet}", "spam.example"))
    assert blocked(romeo) == sorted([stage.script("{juliet}"), "spam.example"])
    romeo.sets(unblock("spam.example"))
    assert blocked(romeo) == [stage.script("{juliet}")]
    romeo.sets(f"<unblock {BLOCKING}/>")
    assert blocked(romeo) == []


@play("blocking", "xep0191-3.3")
def changes_are_pushed_to_resources_that_asked_for_the_list(stage):
    laptop, phone, silent = stage.online("romeo/a"), stage.online("romeo/b"), stage.online("romeo/c")
    blocked(laptop)
    blocked(phone)
    laptop.sets(block("{juliet}"))
    for client in (laptop, phone):
        client.receives(f"<iq type='set'>{block('{juliet}')}</iq>")
    laptop.sets(unblock("{juliet}"))
    for client in (laptop, phone):
        client.receives(f"<iq type='set'>{unblock('{juliet}')}</iq>")
    stage.settles()
    silent.receives_no(f"<iq type='set'><block {BLOCKING}/></iq>")


@play("blocking", "xep0191-3.3")
def blocking_nobody_is_a_bad_request(stage):
    romeo = stage.online("romeo/a")
    romeo.sets(f"<block {BLOCKING}/>", error="bad-request")


@play("blocking", "xep0191-3.3")
def blocking_what_is_no_address_is_jid_malformed(stage):
    romeo = stage.online("romeo/a")
    romeo.sends(f"<iq type='set' id='b'>{block('@x')}</iq>")
    reply = romeo.receives("<iq type='error' id='b'><error/></iq>")
    assert condition_of(reply) in ("jid-malformed", "bad-request")
    assert blocked(romeo) == []


@play("blocking", "xep0191-3.3", "lessons")
def a_blocked_contact_sees_unavailable(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    juliet.receives("<presence from='{romeo/a}'/>")
    romeo.sets(block("{juliet}"))
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")
    romeo.sends("<presence><status>hidden</status></presence>")
    stage.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")


@play("blocking", "xep0191-3.4")
def an_unblocked_contact_sees_presence_again(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sets(block("{juliet}"))
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")
    juliet.forgets()
    romeo.sets(unblock("{juliet}"))
    juliet.receives("<presence from='{romeo/a}'/>")


@play("blocking", "xep0191-3.3")
def a_blocked_sender_is_told_and_not_heard(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sets(block("{juliet}"))
    for to in ("{romeo}", "{romeo/a}"):
        juliet.sends(f"<message to='{to}' type='chat' id='m'><body>hello</body></message>")
        reply = juliet.receives("<message type='error' id='m'><error/></message>")
        assert condition_of(reply) == "service-unavailable"
        juliet.asks("<query xmlns='urn:example:game'/>", to=to, error="service-unavailable")
    juliet.sends("<presence to='{romeo}' type='subscribe'/><presence to='{romeo/a}'/>")
    stage.settles()
    romeo.receives_no("<message type='chat'/>")
    romeo.receives_no("<presence type='subscribe'/>")
    romeo.receives_no("<presence from='{juliet/b}'/>")


@play("blocking", "xep0191-3.3")
def the_blocker_cannot_write_to_the_blocked(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sets(block("{juliet}"))
    romeo.sends("<message to='{juliet}' type='chat' id='m'><body>hello</body></message>")
    reply = romeo.receives("<message type='error' id='m'><error><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                           "<blocked xmlns='urn:xmpp:blocking:errors'/></error></message>")
    assert reply is not None
    stage.settles()
    juliet.receives_no("<message type='chat'/>")


@play("blocking", "xep0191-3.3")
def a_blocked_message_is_in_no_archive_and_does_not_wait(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sets(block("{juliet}"))
    juliet.sends("<message to='{romeo}' type='chat' id='m'><body>hello</body></message>")
    stage.settles()
    reply = romeo.sets("<query xmlns='urn:xmpp:mam:2'/>")
    assert reply is not None
    romeo.receives_no("<message/>")


@play("blocking", "xep0191-2")
def a_domain_can_be_blocked(stage):
    romeo = stage.online("romeo/a")
    romeo.sets(block("elsewhere.example"))
    romeo.sends("<message to='x@elsewhere.example' type='chat' id='m'><body>x</body></message>")
    assert condition_of(romeo.receives("<message type='error' id='m'><error/></message>")) == "not-acceptable"


@play("blocking", "xep0191-2")
def one_resource_can_be_blocked(stage):
    romeo, one, two = stage.online("romeo/a"), stage.online("juliet/one"), stage.online("juliet/two")
    romeo.sets(block("{juliet/one}"))
    for client in (one, two):
        client.sends("<message to='{romeo/a}' type='chat'><body>hello</body></message>")
    romeo.receives("<message from='{juliet/two}' type='chat'><body>hello</body></message>")
    stage.settles()
    romeo.receives_no("<message from='{juliet/one}' type='chat'/>")


@play("blocking", "delivery")
def the_list_is_kept_between_logins(stage):
    romeo = stage.online("romeo/a")
    romeo.sets(block("{juliet}"))
    romeo.closes()
    assert blocked(stage.online("romeo/b")) == [stage.script("{juliet}")]
