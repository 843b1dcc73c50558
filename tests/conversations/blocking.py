"""Blocking: XEP-0191."""
from support.client import condition_of
from support.coven import USER, Room
from support.plays import play

BLOCKING = "xmlns='urn:xmpp:blocking'"
ROSTER = "xmlns='jabber:iq:roster'"


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


@play("blocking", "xep0191-3.4")
def unblocking_one_who_is_not_blocked_says_nothing_to_him(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    stage.settles()
    juliet.forgets()
    romeo.sets(unblock("{juliet}"))
    stage.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")


@play("blocking", "xep0191-3.3")
def who_got_directed_presence_sees_it_go_when_he_is_blocked(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet/b}'/>")
    juliet.receives("<presence from='{romeo/a}'/>")
    romeo.sets(block("{juliet}"))
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")
    romeo.sends("<presence to='{juliet}' type='unavailable' id='u'/>")
    assert condition_of(romeo.receives("<presence type='error' id='u'><error/></presence>")) == "not-acceptable"
    juliet.receives_no("<presence from='{romeo/a}' type='unavailable'/>")


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


@play("blocking", "xep0191-3.3")
def a_request_that_waits_is_not_shown_once_its_sender_is_blocked(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    romeo.settles()
    juliet = stage.login("juliet/b")
    juliet.sets(block("{romeo}"))
    stage.available(juliet)
    stage.settles()
    juliet.receives_no("<presence type='subscribe'/>")


@play("blocking", "xep0191-3.3")
def a_blocked_room_does_not_invite(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    room = Room(stage)
    room.opens(romeo, "r")
    juliet.sets(block(room.jid))
    romeo.sends(f"<message to='{room.jid}'><x {USER}><invite to='{{juliet}}'/></x></message>")
    stage.settles()
    juliet.receives_no("<message/>", 0.2)


@play("blocking", "xep0191-3.3")
def a_blocked_occupant_sends_no_private_messages(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    room = Room(stage)
    room.opens(romeo, "r")
    room.enters(juliet, "j")
    juliet.sets(block(f"{room.jid}/r"))
    romeo.sends(f"<message to='{room.jid}/j' type='chat' id='pm'><body>hello</body></message>")
    assert condition_of(romeo.receives("<message type='error' id='pm'><error/></message>")) == "service-unavailable"
    juliet.receives_no("<message type='chat'/>")


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


@play("blocking", "xep0191-7")
def one_blocked_resource_of_a_contact_neither_sees_nor_is_seen(stage):
    stage.friends("romeo", "juliet")
    romeo, one, two = stage.online("romeo/a"), stage.online("juliet/one"), stage.online("juliet/two")
    stage.settles()
    romeo.sets(block("{juliet/one}"))
    one.receives("<presence from='{romeo/a}' type='unavailable'/>")
    two.forgets()
    romeo.sends("<presence><status>hidden</status></presence>")
    two.receives("<presence from='{romeo/a}'><status>hidden</status></presence>")
    stage.settles()
    one.receives_no("<presence from='{romeo/a}'><status>hidden</status></presence>")
    again = stage.online("romeo/b")
    again.receives("<presence from='{juliet/two}'/>")
    stage.settles()
    again.receives_no("<presence from='{juliet/one}'/>")
    one.receives_no("<presence from='{romeo/b}'/>")
    romeo.sets(unblock("{juliet/one}"))
    one.receives("<presence from='{romeo/a}'><status>hidden</status></presence>")


def blocking_oneself(what, called):
    def a_list_that_names_oneself(stage):
        laptop, phone = stage.online("romeo/laptop"), stage.online("romeo/phone")
        laptop.sets(block(what))
        laptop.sends("<message to='{romeo/phone}' type='chat'><body>note</body></message>")
        phone.receives("<message from='{romeo/laptop}' type='chat'><body>note</body></message>")
        laptop.asks(f"<query {ROSTER}/>")
        tablet = stage.online("romeo/tablet")
        tablet.receives("<presence from='{romeo/laptop}'/>")
        laptop.sets(unblock(what))
        assert blocked(laptop) == []
    a_list_that_names_oneself.__name__ = f"blocking_{called}_blocks_no_own_resource"
    return a_list_that_names_oneself


for _what, _called in (("{romeo}", "the_own_address"), ("{domain}", "the_own_domain")):
    play("blocking", "xep0191-5")(blocking_oneself(_what, _called))


@play("blocking", "delivery")
def the_list_is_kept_between_logins(stage):
    romeo = stage.online("romeo/a")
    romeo.sets(block("{juliet}"))
    romeo.closes()
    assert blocked(stage.online("romeo/b")) == [stage.script("{juliet}")]
