"""Where a stanza goes: RFC 6121 §8, its table §8.5.2 and XEP-0160 for what waits."""
from support.client import condition_of
from support.plays import play

TYPES = ("normal", "chat", "groupchat", "headline", "error")
ERROR = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"


def message(type, to, body="hello", id="m"):
    inside = ERROR if type == "error" else f"<body>{body}</body>"
    attribute = "" if type == "normal" else f" type='{type}'"
    return f"<message id='{id}' to='{to}'{attribute}>{inside}</message>"


def got(client, body="hello"):
    """How many messages with this body, or of type error without one, are in the client's queue; takes them out."""
    found = [element for element in client.queue if element.tag == "{jabber:client}message"
             and element.find("{jabber:client}body") is not None
             and element.find("{jabber:client}body").text == body and element.get("type") != "error"]
    for element in found:
        client.queue.remove(element)
    return len(found)


def bounced(client):
    """The conditions of the error messages in the queue; takes them out."""
    found = [element for element in client.queue if element.tag == "{jabber:client}message"
             and element.get("type") == "error"]
    for element in found:
        client.queue.remove(element)
    return [condition_of(element) for element in found]


def cast(stage, priorities):
    """romeo, and a juliet with a resource for each priority (None: bound but not available)."""
    romeo = stage.online("romeo/a")
    juliets = []
    for number, priority in enumerate(priorities):
        if priority is None:
            juliets.append(stage.login(f"juliet/r{number}"))
        else:
            juliets.append(stage.online(f"juliet/r{number}", priority=priority))
    stage.name_of("juliet")
    stage.settles()
    for client in (romeo, *juliets):
        client.forgets()
    return romeo, juliets


def says(stage, romeo, juliets, text):
    romeo.sends(text)
    stage.settles(romeo, *juliets)


# --- §8.5.1: no such account

def to_nobody(type, where):
    def a_message_to_nobody(stage):
        romeo = stage.online("romeo/a")
        says(stage, romeo, [], message(type, f"nobody-of-that-name@{stage.domain}{where}"))
        told = bounced(romeo)  # ignoring it is as good: it does not tell who exists
        assert told in ([], ["service-unavailable"]) and not (told and type == "error"), told
    a_message_to_nobody.__name__ = f"a_{type}_message_to_nobodys_{'full' if where else 'bare'}_address"
    return a_message_to_nobody


for _type in TYPES:
    for _where in ("", "/x"):
        play("delivery", "rfc6121-8.5.1")(to_nobody(_type, _where))


@play("delivery", "rfc6121-8.5.1")
def an_iq_to_nobody_is_service_unavailable(stage):
    romeo = stage.online("romeo/a")
    for to in ("nobody-of-that-name@{domain}", "nobody-of-that-name@{domain}/x"):
        romeo.asks("<query xmlns='urn:example:game'/>", to=to, error="service-unavailable")


@play("delivery", "rfc6121-8.5.1")
def presence_to_nobody_is_ignored(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<presence to='nobody-of-that-name@{domain}'/><presence to='nobody-of-that-name@{domain}' type='probe'/>")
    romeo.settles().receives_no("<presence type='error'/>")


# --- §8.5.2: bare address. For each cast of priorities: who gets a chat or normal message.

BARE = {
    "one": ((0,), {0}),
    "two_equal": ((5, 5), None),          # at least one of them
    "high_and_low": ((9, 1), {0, "maybe 1"}),
    "one_and_a_negative": ((0, -1), {0}),
    "one_and_an_unavailable": ((0, None), {0}),
}


def to_bare(type, name, priorities, takers):
    def a_message(stage):
        romeo, juliets = cast(stage, priorities)
        says(stage, romeo, juliets, message(type, "{juliet}"))
        counts = [got(client) for client in juliets]
        assert max(counts) <= 1, "once to each resource"
        for number, count in enumerate(counts):
            if priorities[number] is None or priorities[number] < 0:
                assert count == 0, f"resource {number} with priority {priorities[number]} gets nothing: {counts}"
        if takers is None:
            assert sum(counts) >= 1, counts
        else:
            assert counts[0] == 1, counts
        assert bounced(romeo) == []
    a_message.__name__ = f"a_{type}_message_to_the_bare_address_with_{name}"
    return a_message


for _type in ("normal", "chat"):
    for _name, (_priorities, _takers) in BARE.items():
        play("delivery", "rfc6121-8.5.2.1.1")(to_bare(_type, _name, _priorities, _takers))


@play("delivery", "rfc6121-8.5.2.1.1")
def a_headline_to_the_bare_address_goes_to_all_with_a_priority_of_zero_or_more(stage):
    romeo, juliets = cast(stage, (0, 5, -1, None))
    says(stage, romeo, juliets, message("headline", "{juliet}"))
    assert [got(client) for client in juliets] == [1, 1, 0, 0]


@play("delivery", "rfc6121-8.5.2.1.1")
def a_groupchat_message_to_the_bare_address_is_service_unavailable(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("groupchat", "{juliet}"))
    assert [got(client) for client in juliets] == [0] and bounced(romeo) == ["service-unavailable"]


@play("delivery", "rfc6121-8.5.2.1.1")
def an_error_message_to_the_bare_address_is_ignored(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("error", "{juliet}"))
    assert bounced(juliets[0]) == [] and bounced(romeo) == []


@play("delivery", "rfc6121-8.5.2.1.2")
def presence_to_the_bare_address_goes_to_all_available_resources(stage):
    romeo, juliets = cast(stage, (0, -1, None))
    says(stage, romeo, juliets, "<presence to='{juliet}'><status>hello</status></presence>")
    counts = [sum(element.get("from") == romeo.jid for element in client.queue) for client in juliets]
    assert counts == [1, 1, 0], counts


@play("delivery", "rfc6121-8.5.2.1.3")
def an_iq_to_the_bare_address_is_answered_by_the_server(stage):
    romeo, juliets = cast(stage, (0,))
    romeo.asks("<query xmlns='urn:example:unknown'/>", to="{juliet}", error="service-unavailable")
    stage.settles()
    juliets[0].receives_no("<iq type='get'/>")


# --- §8.5.2.2: bare address, nobody available

@play("delivery", "rfc6121-8.5.2.2.1", "xep0160")
def chat_and_normal_messages_wait_for_one_who_is_away(stage):
    romeo, _ = cast(stage, ())
    for type in ("chat", "normal"):
        says(stage, romeo, [], message(type, "{juliet}", body=type))
    assert bounced(romeo) == []
    juliet = stage.online("juliet/b")
    juliet.receives_in_order(
        "<message from='{romeo/a}' type='chat'><body>chat</body><delay xmlns='urn:xmpp:delay' stamp='{any}'/></message>",
        "<message from='{romeo/a}'><body>normal</body><delay xmlns='urn:xmpp:delay' stamp='{any}'/></message>")


@play("delivery", "rfc6121-8.5.2.2.1", "xep0160")
def a_resource_with_a_negative_priority_does_not_get_what_waits(stage):
    romeo, _ = cast(stage, ())
    says(stage, romeo, [], message("chat", "{juliet}"))
    negative = stage.online("juliet/n", priority=-1)
    negative.settles()
    assert got(negative) == 0
    usual = stage.online("juliet/u")
    usual.receives("<message type='chat'><body>hello</body></message>")


@play("delivery", "rfc6121-8.5.2.2.1", "xep0160")
def a_negative_resource_that_turns_positive_gets_what_waits(stage):
    romeo, _ = cast(stage, ())
    says(stage, romeo, [], message("chat", "{juliet}"))
    juliet = stage.online("juliet/n", priority=-1)
    juliet.sends("<presence><priority>1</priority></presence>")
    juliet.receives("<message type='chat'><body>hello</body></message>")


@play("delivery", "xep0160")
def what_waited_comes_once(stage):
    romeo, _ = cast(stage, ())
    says(stage, romeo, [], message("chat", "{juliet}"))
    juliet = stage.online("juliet/b")
    juliet.receives("<message type='chat'><body>hello</body></message>")
    juliet.settles()
    juliet.closes()
    again = stage.online("juliet/b")
    again.settles()
    assert got(again) == 0


@play("delivery", "xep0160", "lessons")
def what_waited_comes_before_what_is_new_and_in_order(stage):
    romeo, _ = cast(stage, ())
    for number in range(30):
        romeo.sends(message("chat", "{juliet}", body=f"old {number}"))
    romeo.settles()
    juliet = stage.login("juliet/b")
    juliet.sends("<presence/>")
    for number in range(5):
        romeo.sends(message("chat", "{juliet}", body=f"new {number}"))
    romeo.settles()
    juliet.receives_in_order(*(f"<message type='chat'><body>old {number}</body></message>" for number in range(30)))


@play("delivery", "rfc6121-8.5.2.2.1")
def headlines_groupchat_and_errors_do_not_wait(stage):
    romeo, _ = cast(stage, ())
    says(stage, romeo, [], message("headline", "{juliet}") + message("error", "{juliet}"))
    assert bounced(romeo) == []
    says(stage, romeo, [], message("groupchat", "{juliet}"))
    assert bounced(romeo) == ["service-unavailable"]
    juliet = stage.online("juliet/b")
    juliet.settles()
    juliet.receives_no("<message/>")
    juliet.receives_no("<message type='headline'/>")


@play("delivery", "xep0160")
def a_chat_state_alone_does_not_wait(stage):
    romeo, _ = cast(stage, ())
    romeo.sends("<message to='{juliet}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>")
    romeo.settles()
    juliet = stage.online("juliet/b")
    juliet.settles()
    juliet.receives_no("<message type='chat'/>")


@play("delivery", "xep0160-3")
def a_chat_message_waits_whatever_it_carries_beside_chat_states(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    romeo.sends("<message to='{juliet}' type='chat'><reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>+</reaction></reactions>"
                "</message>")
    romeo.settles()
    stage.online("juliet/b").receives("<message from='{romeo/a}' type='chat'><reactions xmlns='urn:xmpp:reactions:0'/></message>")


@play("delivery", "rfc6121-8.5.2.2.1")
def a_chat_message_waits_if_all_have_negative_priorities(stage):
    romeo, juliets = cast(stage, (-1,))
    says(stage, romeo, juliets, message("chat", "{juliet}"))
    assert got(juliets[0]) == 0 and bounced(romeo) == []
    later = stage.online("juliet/later")
    later.receives("<message type='chat'><body>hello</body></message>")


@play("delivery", "xep0203")
def a_delay_says_who_and_when_and_replaces_a_forged_one(stage):
    romeo, _ = cast(stage, ())
    romeo.sends("<message to='{juliet}' type='chat'><body>hello</body>"
                "<delay xmlns='urn:xmpp:delay' from='{domain}' stamp='1999-01-01T00:00:00Z'/></message>")
    romeo.settles()
    juliet = stage.online("juliet/b")
    element = juliet.receives("<message type='chat'><body>hello</body></message>")
    stamps = [delay.get("stamp") for delay in element.iter("{urn:xmpp:delay}delay") if delay.get("from") == stage.domain]
    assert len(stamps) == 1 and not stamps[0].startswith("1999"), stamps


# --- §8.5.3: full address

def to_full(type):
    def a_message_to_a_full_address(stage):
        romeo, juliets = cast(stage, (1, 9))
        says(stage, romeo, juliets, message(type, "{juliet/r0}"))
        if type == "error":
            assert bounced(juliets[0]) == ["service-unavailable"] and bounced(juliets[1]) == []
        else:
            assert [got(client) for client in juliets] == [1, 0]
        assert bounced(romeo) == []
    a_message_to_a_full_address.__name__ = f"a_{type}_message_to_a_full_address_goes_there_and_nowhere_else"
    return a_message_to_a_full_address


for _type in TYPES:
    play("delivery", "rfc6121-8.5.3.1")(to_full(_type))


@play("delivery", "rfc6121-8.5.3.1")
def a_full_address_with_a_negative_priority_is_reached(stage):
    romeo, juliets = cast(stage, (-5, 0))
    says(stage, romeo, juliets, message("chat", "{juliet/r0}"))
    assert [got(client) for client in juliets] == [1, 0]


@play("delivery", "rfc6121-8.5.3.1")
def an_iq_to_a_full_address_is_passed_on_and_its_answer_back(stage):
    romeo, juliets = cast(stage, (0,))
    romeo.sends("<iq type='get' id='i' to='{juliet/r0}'><query xmlns='urn:example:game'/></iq>")
    juliets[0].receives("<iq type='get' id='i' from='{romeo/a}' to='{juliet/r0}'><query xmlns='urn:example:game'/></iq>")
    juliets[0].sends("<iq type='result' id='i' to='{romeo/a}'><query xmlns='urn:example:game'><move/></query></iq>")
    romeo.receives("<iq type='result' id='i' from='{juliet/r0}'><query xmlns='urn:example:game'><move/></query></iq>")


@play("delivery", "rfc6121-8.5.3.1")
def an_iq_reaches_a_resource_that_is_bound_but_not_available(stage):
    romeo, juliets = cast(stage, (None,))
    romeo.sends("<iq type='get' id='i' to='{juliet/r0}'><query xmlns='urn:example:game'/></iq>")
    juliets[0].receives("<iq type='get' id='i' from='{romeo/a}'><query xmlns='urn:example:game'/></iq>")


# --- §8.5.3.2: full address that matches no resource

@play("delivery", "rfc6121-8.5.3.2.1")
def a_chat_message_to_a_gone_resource_goes_to_another(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("chat", "{juliet/gone}"))
    assert got(juliets[0]) == 1 and bounced(romeo) == []


@play("delivery", "rfc6121-8.5.3.2.1")
def a_chat_message_to_a_gone_resource_waits_if_there_is_no_other(stage):
    romeo, _ = cast(stage, ())
    says(stage, romeo, [], message("chat", "{juliet/gone}"))
    assert bounced(romeo) == []
    stage.online("juliet/b").receives("<message type='chat'><body>hello</body></message>")


@play("delivery", "rfc6121-8.5.3.2.1", "xep0334")
def what_nobody_gets_and_may_not_wait_is_service_unavailable(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    for to in ("{juliet}", "{juliet/gone}"):
        romeo.sends(f"<message to='{to}' type='chat' id='n'><body>now or never</body><no-store xmlns='urn:xmpp:hints'/></message>")
        assert condition_of(romeo.receives("<message type='error' id='n'><error/></message>")) == "service-unavailable"


@play("delivery", "rfc6121-8.5.3.2.1")
def a_normal_message_to_a_gone_resource_is_service_unavailable(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("normal", "{juliet/gone}"))
    assert got(juliets[0]) == 0 and bounced(romeo) == ["service-unavailable"]


@play("delivery", "rfc6121-8.5.3.2.1")
def a_groupchat_message_to_a_gone_resource_is_service_unavailable(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("groupchat", "{juliet/gone}"))
    assert got(juliets[0]) == 0 and bounced(romeo) == ["service-unavailable"]


@play("delivery", "rfc6121-8.5.3.2.1")
def a_headline_or_error_to_a_gone_resource_is_ignored(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, message("headline", "{juliet/gone}") + message("error", "{juliet/gone}"))
    assert got(juliets[0]) == 0 and bounced(romeo) == [] and bounced(juliets[0]) == []


@play("delivery", "rfc6121-8.5.3.2.2")
def presence_to_a_gone_resource_is_ignored(stage):
    romeo, juliets = cast(stage, (0,))
    says(stage, romeo, juliets, "<presence to='{juliet/gone}'/>")
    juliets[0].receives_no("<presence from='{romeo/a}'/>")
    romeo.receives_no("<presence type='error'/>")


@play("delivery", "rfc6121-8.5.3.2.3")
def an_iq_to_a_gone_resource_is_service_unavailable(stage):
    romeo, _ = cast(stage, (0,))
    romeo.asks("<query xmlns='urn:example:game'/>", to="{juliet/gone}", error="service-unavailable")
    romeo.sets("<query xmlns='urn:example:game'/>", to="{juliet/gone}", error="service-unavailable")
    romeo.sends("<iq type='result' id='x' to='{juliet/gone}'/>")
    romeo.settles().receives_no("<iq type='error'/>")


# --- others

@play("delivery", "rfc6121-8.1")
def a_message_without_to_goes_to_the_own_bare_address(stage):
    laptop, phone = stage.online("romeo/laptop"), stage.online("romeo/phone")
    laptop.sends("<message type='chat'><body>note to self</body></message>")
    stage.settles()
    assert got(laptop, "note to self") + got(phone, "note to self") >= 1


@play("delivery", "rfc6121-8.1")
def a_message_to_oneself_arrives(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{romeo}' type='chat'><body>note</body></message>")
    romeo.receives("<message from='{romeo/a}' type='chat'><body>note</body></message>")


@play("delivery", "rfc6120-8.1.3")
def ids_and_unknown_attributes_of_children_are_passed_on(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message id='abc-1' to='{juliet/b}' type='chat'><body>x</body><thread parent='p'>t</thread>"
                "<x xmlns='urn:example:x' a='1'><y b='2'>z</y></x></message>")
    juliet.receives("<message id='abc-1' type='chat'><body>x</body><thread parent='p'>t</thread>"
                    "<x xmlns='urn:example:x' a='1'><y b='2'>z</y></x></message>")


@play("delivery", "rfc6121-5.2.2")
def an_unknown_message_type_is_normal(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message type='odd' to='{juliet/b}'><body>x</body></message>")
    element = juliet._take(lambda one: one.find("{jabber:client}body") is not None, "a message", 8)
    assert element.get("type") in (None, "normal", "odd")


@play("delivery", "rfc6121-8.3")
def a_message_to_the_server_itself_is_not_passed_to_anybody(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{domain}' type='chat' id='s'><body>x</body></message>")
    romeo.settles()
    assert all(condition == "service-unavailable" for condition in bounced(romeo))


@play("delivery", "bursts")
def a_thousand_messages_arrive_once_and_in_order(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    for start in range(0, 1000, 100):
        romeo.sends("".join(message("chat", "{juliet/b}", body=str(number)) for number in range(start, start + 100)))
    romeo.settles()
    juliet.settles()
    bodies = [element.find("{jabber:client}body").text for element in juliet.queue
              if element.find("{jabber:client}body") is not None]
    wrong = next((at for at, body in enumerate(bodies) if body != str(at)), None)
    assert len(bodies) == 1000 and wrong is None, f"{len(bodies)} messages; from {wrong} on: {bodies[wrong or 0:][:12]}"
