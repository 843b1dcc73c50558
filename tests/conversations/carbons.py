"""Message carbons: XEP-0280, and the hints of XEP-0334 that concern them."""
from support.plays import play

CARBONS = "xmlns='urn:xmpp:carbons:2'"
FORWARD = "xmlns='urn:xmpp:forward:0'"


def carbon(direction, sender, to, body):
    """What a carbon looks like: from the own bare address, the copy inside."""
    return (f"<message from='{{romeo}}' type='chat'><{direction} {CARBONS}><forwarded {FORWARD}>"
            f"<message xmlns='jabber:client' from='{sender}' to='{to}' type='chat'><body>{body}</body></message></forwarded></{direction}></message>")


def cast(stage):
    laptop, phone, juliet = stage.online("romeo/laptop"), stage.online("romeo/phone"), stage.online("juliet/b")
    phone.sets(f"<enable {CARBONS}/>")
    stage.settles()
    for client in (laptop, phone, juliet):
        client.forgets()
    return laptop, phone, juliet


@play("carbons", "xep0280-4")
def carbons_are_announced_by_the_server(stage):
    info = stage.login("romeo/a").asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{domain}")
    features = {one.get("var") for one in info[0] if one.tag.endswith("}feature")}
    assert "urn:xmpp:carbons:2" in features


@play("carbons", "xep0280-5")
def carbons_are_turned_on_and_off(stage):
    romeo = stage.online("romeo/a")
    romeo.sets(f"<enable {CARBONS}/>")
    romeo.sets(f"<disable {CARBONS}/>")
    romeo.sets(f"<disable {CARBONS}/>")


@play("carbons", "xep0280-7")
def what_another_resource_sent_is_copied(stage):
    laptop, phone, juliet = cast(stage)
    laptop.sends("<message to='{juliet/b}' type='chat'><body>hello</body></message>")
    juliet.receives("<message from='{romeo/laptop}' type='chat'><body>hello</body></message>")
    phone.receives(carbon("sent", "{romeo/laptop}", "{juliet/b}", "hello"))
    stage.settles()
    laptop.receives_no("<message type='chat'/>")


@play("carbons", "xep0280-6")
def what_another_resource_received_is_copied(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends("<message to='{romeo/laptop}' type='chat'><body>hello</body></message>")
    laptop.receives("<message from='{juliet/b}' type='chat'><body>hello</body></message>")
    phone.receives(carbon("received", "{juliet/b}", "{romeo/laptop}", "hello"))


@play("carbons", "xep0280-6")
def a_message_to_the_bare_address_comes_once_to_each(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends("<message to='{romeo}' type='chat'><body>hello</body></message>")
    stage.settles()
    for client in (laptop, phone):
        count = sum("hello" in "".join(element.itertext()) for element in client.queue)
        assert count == (1 if client is phone else count) and count <= 1, (client.label, count)


@play("carbons", "xep0280-5")
def without_asking_there_are_no_carbons(stage):
    laptop, phone, juliet = cast(stage)
    phone.sets(f"<disable {CARBONS}/>")
    laptop.sends("<message to='{juliet/b}' type='chat'><body>hello</body></message>")
    juliet.sends("<message to='{romeo/laptop}' type='chat'><body>hello</body></message>")
    stage.settles()
    phone.receives_no("<message type='chat'/>")


@play("carbons", "xep0280-9", "xep0334")
def private_messages_are_not_copied(stage):
    laptop, phone, juliet = cast(stage)
    for mark in (f"<private {CARBONS}/>", "<no-copy xmlns='urn:xmpp:hints'/>"):
        laptop.sends(f"<message to='{{juliet/b}}' type='chat'><body>secret</body>{mark}</message>")
        juliet.sends(f"<message to='{{romeo/laptop}}' type='chat'><body>secret</body>{mark}</message>")
    stage.settles()
    phone.receives_no("<message type='chat'/>")


@play("carbons", "xep0280-9")
def the_private_mark_is_kept(stage):
    laptop, phone, juliet = cast(stage)
    laptop.sends(f"<message to='{{juliet/b}}' type='chat'><body>secret</body><private {CARBONS}/></message>")
    juliet.receives(f"<message type='chat'><body>secret</body><private {CARBONS}/></message>")


@play("carbons", "xep0280-6.1")
def normal_messages_with_a_body_are_copied(stage):
    laptop, phone, juliet = cast(stage)
    laptop.sends("<message to='{juliet/b}'><body>hello</body></message>")
    phone.receives(f"<message from='{{romeo}}'><sent {CARBONS}><forwarded {FORWARD}><message xmlns='jabber:client'><body>hello</body></message>"
                   "</forwarded></sent></message>")


@play("carbons", "xep0280-6.1")
def chat_states_and_receipts_are_copied(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends("<message to='{romeo/laptop}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
    phone.receives(f"<message type='chat'><received {CARBONS}><forwarded {FORWARD}><message xmlns='jabber:client' "
                   "type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message></forwarded></received></message>")
    juliet.sends("<message to='{romeo/laptop}'><received xmlns='urn:xmpp:receipts' id='x'/></message>")
    phone.receives(f"<message><received {CARBONS}/></message>")


@play("carbons", "xep0280-6.1")
def a_direct_invitation_is_copied(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends("<message to='{romeo/laptop}'><x xmlns='jabber:x:conference' jid='room@rooms.{domain}'/></message>")
    laptop.receives("<message><x xmlns='jabber:x:conference'/></message>")
    phone.receives(f"<message from='{{romeo}}'><received {CARBONS}><forwarded {FORWARD}><message xmlns='jabber:client'>"
                   "<x xmlns='jabber:x:conference'/></message></forwarded></received></message>")


@play("carbons", "xep0280-6.2")
def the_rules_are_announced_only_if_errors_are_copied(stage):
    laptop, phone, juliet = cast(stage)
    laptop.sends("<message to='{juliet}' type='chat' id='e'><body>hello</body></message>")
    juliet.receives("<message type='chat'><body>hello</body></message>")
    juliet.sends("<message to='{romeo/laptop}' type='error' id='e'><error type='cancel'>"
                 "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    stage.settles()
    copied = any(one.get("type") == "error" and one.find("{urn:xmpp:carbons:2}received") is not None for one in phone.queue)
    info = laptop.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{domain}")
    assert copied or "urn:xmpp:carbons:rules:0" not in {one.get("var") for one in info[0]}


@play("carbons", "xep0280-6.1")
def headlines_are_not_copied(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends("<message to='{romeo/laptop}' type='headline'><body>news</body></message>")
    stage.settles()
    phone.receives_no("<message type='headline'/>")
    phone.receives_no(f"<message type='headline'><received {CARBONS}/></message>")


@play("carbons", "xep0280-11")
def a_forged_carbon_keeps_its_senders_address(stage):
    laptop, phone, juliet = cast(stage)
    juliet.sends(f"<message to='{{romeo/phone}}' type='chat'><received {CARBONS}><forwarded {FORWARD}><message "
                 "xmlns='jabber:client' from='friar@example.test/x' to='{romeo/phone}' type='chat'><body>forged</body></message></forwarded>"
                 "</received></message>")
    stage.settles()
    assert all(element.get("from") != stage.script("{romeo}") for element in phone.queue)


@play("carbons", "xep0280-7")
def a_resource_with_a_negative_priority_gets_carbons(stage):
    laptop, juliet = stage.online("romeo/laptop"), stage.online("juliet/b")
    phone = stage.online("romeo/phone", priority=-1)
    phone.sets(f"<enable {CARBONS}/>")
    laptop.sends("<message to='{juliet/b}' type='chat'><body>hello</body></message>")
    phone.receives(carbon("sent", "{romeo/laptop}", "{juliet/b}", "hello"))


@play("carbons", "xep0280-7")
def what_waits_for_others_is_copied_to_a_negative_resource(stage):
    phone, juliet = stage.online("romeo/phone", priority=-1), stage.online("juliet/b")
    phone.sets(f"<enable {CARBONS}/>")
    juliet.sends("<message to='{romeo}' type='chat'><body>hello</body></message>")
    phone.receives(f"<message from='{{romeo}}' to='{{romeo/phone}}' type='chat'><received {CARBONS}><forwarded {FORWARD}>"
                   "<message xmlns='jabber:client' from='{juliet/b}' to='{romeo}' type='chat'><body>hello</body></message>"
                   "</forwarded></received></message>")


@play("carbons", "xep0280-6")
def carbons_are_never_stored_for_later(stage):
    laptop, phone, juliet = cast(stage)
    phone.closes()
    laptop.sends("<message to='{juliet/b}' type='chat'><body>hello</body></message>")
    stage.settles(laptop, juliet)
    again = stage.online("romeo/phone")
    again.settles()
    again.receives_no("<message type='chat'/>")
