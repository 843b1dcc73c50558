"""Presence subscriptions: RFC 6121 §3 and the tables of its Appendix A."""
from support.plays import play

ROSTER = "xmlns='jabber:iq:roster'"
STATES = ("none", "none+out", "none+in", "none+out+in", "to", "to+in", "from", "from+out", "both")


def push(of, subscription, ask=None):
    asking = "ask='subscribe'" if ask else "ask='{absent}'"
    return (f"<iq type='set'><query {ROSTER}><item jid='{of}' subscription='{subscription}' {asking}/>"
            "</query></iq>")


def state_of(client, contact):
    """(subscription, asked) of a contact in the client's roster; (None, False) if it is not there."""
    for item in client.asks(f"<query {ROSTER}/>")[0]:
        if item.get("jid") == client.script(contact):
            return item.get("subscription"), item.get("ask") == "subscribe"
    return None, False


def pair(stage):
    return stage.online("romeo/a"), stage.online("juliet/b")


def brought_to(stage, romeo, juliet, state):
    """Makes romeo's side `state` towards juliet by stanzas alone, and drops what came of it."""
    subscription, *pending = state.split("+")
    if subscription in ("to", "both"):
        romeo.sends("<presence to='{juliet}' type='subscribe'/>")
        juliet.receives("<presence type='subscribe'/>")
        juliet.sends("<presence to='{romeo}' type='subscribed'/>")
        romeo.receives("<presence type='subscribed'/>")
    if subscription in ("from", "both"):
        juliet.sends("<presence to='{romeo}' type='subscribe'/>")
        romeo.receives("<presence type='subscribe'/>")
        romeo.sends("<presence to='{juliet}' type='subscribed'/>")
        juliet.receives("<presence type='subscribed'/>")
    if "out" in pending:
        romeo.sends("<presence to='{juliet}' type='subscribe'/>")
        juliet.receives("<presence type='subscribe'/>")
    if "in" in pending:
        juliet.sends("<presence to='{romeo}' type='subscribe'/>")
        romeo.receives("<presence type='subscribe'/>")
    stage.settles()
    romeo.forgets()
    juliet.forgets()


@play("subscription", "rfc6121-3.1.2")
def asking_makes_a_pending_item_and_pushes_it(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    romeo.receives(push("{juliet}", "none", ask=True))
    juliet.receives("<presence from='{romeo}' to='{juliet}' type='subscribe'/>")
    assert state_of(romeo, "{juliet}") == ("none", True)


@play("subscription", "rfc6121-3.1.2")
def a_request_is_stamped_with_the_bare_address(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet/b}' type='subscribe'/>")
    juliet.receives("<presence from='{romeo}' to='{juliet}' type='subscribe'/>")


@play("subscription", "rfc6121-3.1.3")
def a_request_goes_to_every_available_resource_of_the_contact(stage):
    romeo = stage.online("romeo/a")
    first, second, silent = stage.online("juliet/b"), stage.online("juliet/c"), stage.login("juliet/d")
    romeo.sends("<presence to='{juliet}' type='subscribe'><status>I am Romeo</status></presence>")
    for client in (first, second):
        client.receives("<presence from='{romeo}' type='subscribe'><status>I am Romeo</status></presence>")
    stage.settles()
    silent.receives_no("<presence type='subscribe'/>")


@play("subscription", "rfc6121-3.1.3")
def a_request_waits_in_full_until_the_contact_comes_online(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    romeo.sends("<presence to='{juliet}' type='subscribe' id='s1'><status>Remember me?</status>"
                "<nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick></presence>")
    romeo.settles()
    for _ in range(2):  # again at each login until it is answered
        juliet = stage.online("juliet/b")
        juliet.receives("<presence from='{romeo}' type='subscribe'><status>Remember me?</status>"
                        "<nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick></presence>")
        juliet.closes()
    juliet = stage.online("juliet/b")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='unsubscribed'/>")
    juliet.settles()
    juliet.closes()
    juliet = stage.online("juliet/b")
    juliet.settles()
    juliet.receives_no("<presence type='subscribe'/>")


@play("subscription", "rfc6121-3.1.3")
def a_waiting_request_is_not_in_the_contacts_roster(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    assert state_of(juliet, "{romeo}") == (None, False)
    juliet.receives_no(f"<iq type='set'><query {ROSTER}/></iq>")


@play("subscription", "rfc6121-3.1.3")
def asking_twice_leaves_one_waiting_request(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    for text in ("one", "two"):
        romeo.sends(f"<presence to='{{juliet}}' type='subscribe'><status>{text}</status></presence>")
    romeo.settles()
    juliet = stage.online("juliet/b")
    juliet.receives("<presence type='subscribe'/>")
    juliet.settles()
    juliet.receives_no("<presence type='subscribe'/>")


@play("subscription", "rfc6121-3.1.5")
def approval_changes_both_rosters_and_shows_presence(stage):
    romeo, juliet = pair(stage)
    juliet.sends("<presence><show>dnd</show></presence>")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    juliet.receives(push("{romeo}", "from"))
    romeo.receives(push("{juliet}", "none", ask=True))
    romeo.receives_all_of("<presence from='{juliet}' type='subscribed'/>", push("{juliet}", "to"),
                          "<presence from='{juliet/b}'><show>dnd</show></presence>")
    assert state_of(romeo, "{juliet}") == ("to", False)
    assert state_of(juliet, "{romeo}") == ("from", False)


@play("subscription", "rfc6121-3.1.6")
def approval_reaches_interested_resources_as_a_push(stage):
    laptop, phone, juliet = stage.online("romeo/laptop"), stage.online("romeo/phone"), stage.online("juliet/b")
    laptop.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    for client in (laptop, phone):
        client.receives_all_of(push("{juliet}", "to"), "<presence from='{juliet/b}'/>")


@play("subscription", "rfc6121-3.1.6")
def approval_that_nobody_asked_for_changes_nothing(stage):
    romeo, juliet = pair(stage)
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    stage.settles()
    assert state_of(romeo, "{juliet}") == (None, False)
    romeo.receives_no("<presence type='subscribed'/>")


@play("subscription", "rfc6121-3.1.4")
def approval_while_the_asker_is_offline_is_in_his_roster_later(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    romeo.settles()
    romeo.closes()
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    juliet.settles()
    again = stage.online("romeo/a")
    assert state_of(again, "{juliet}") == ("to", False)
    again.receives("<presence from='{juliet/b}'/>")


@play("subscription", "rfc6121-3.2")
def refusal_takes_the_question_back(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "none+out")
    juliet.sends("<presence to='{romeo}' type='unsubscribed'/>")
    romeo.receives_all_of("<presence from='{juliet}' type='unsubscribed'/>", push("{juliet}", "none"))
    assert state_of(romeo, "{juliet}") == ("none", False)


@play("subscription", "rfc6121-2.5")
def a_question_that_goes_with_its_item_is_refused(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sets(f"<query {ROSTER}><item jid='{{romeo}}'/></query>")
    juliet.sets(f"<query {ROSTER}><item jid='{{romeo}}' subscription='remove'/></query>")
    romeo.receives("<presence from='{juliet}' type='unsubscribed'/>")


@play("subscription", "rfc6121-3.2.2")
def cancelling_ends_presence(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "to")
    juliet.sends("<presence to='{romeo}' type='unsubscribed'/>")
    juliet.receives(push("{romeo}", "none"))
    romeo.receives_all_of("<presence from='{juliet}' type='unsubscribed'/>", push("{juliet}", "none"),
                          "<presence from='{juliet/b}' type='unavailable'/>")
    juliet.sends("<presence><show>away</show></presence>")
    stage.settles()
    romeo.receives_no("<presence from='{juliet/b}'/>")


@play("subscription", "rfc6121-3.2.2")
def cancelling_of_both_leaves_to(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "both")
    juliet.sends("<presence to='{romeo}' type='unsubscribed'/>")
    juliet.receives(push("{romeo}", "to"))
    romeo.receives(push("{juliet}", "from"))


@play("subscription", "rfc6121-3.3.2")
def unsubscribing_ends_presence(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "to")
    romeo.sends("<presence to='{juliet}' type='unsubscribe'/>")
    romeo.receives(push("{juliet}", "none"))
    juliet.receives_all_of("<presence from='{romeo}' type='unsubscribe'/>", push("{romeo}", "none"))
    romeo.receives("<presence from='{juliet/b}' type='unavailable'/>")


@play("subscription", "rfc6121-3.3.2")
def unsubscribing_from_both_leaves_from(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "both")
    romeo.sends("<presence to='{juliet}' type='unsubscribe'/>")
    romeo.receives(push("{juliet}", "from"))
    juliet.receives(push("{romeo}", "to"))
    stage.settles()
    romeo.sends("<presence><status>still seen</status></presence>")
    juliet.receives("<presence from='{romeo/a}'><status>still seen</status></presence>")


@play("subscription", "rfc6121-3.3.3")
def taking_a_question_back_removes_the_waiting_request(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    romeo.receives(push("{juliet}", "none", ask=True))
    romeo.sends("<presence to='{juliet}' type='unsubscribe'/>")
    romeo.receives(push("{juliet}", "none"))
    romeo.settles()
    juliet = stage.online("juliet/b")
    juliet.settles()
    juliet.receives_no("<presence type='subscribe'/>")


@play("subscription", "rfc6121-3.1.3")
def asking_one_who_has_approved_before_is_answered_at_once(stage):
    romeo, juliet = pair(stage)
    brought_to(stage, romeo, juliet, "to")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    stage.settles()
    juliet.receives_no("<presence type='subscribe'/>")
    assert state_of(romeo, "{juliet}")[0] == "to"


@play("subscription", "rfc6121-3.4")
def pre_approval_is_announced(stage):
    client = stage.authenticated("romeo")
    assert client.features.find("{urn:xmpp:features:pre-approval}sub") is not None


@play("subscription", "rfc6121-3.4.2")
def a_pre_approved_contact_gets_in_without_a_question(stage):
    romeo, juliet = pair(stage)
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    juliet.receives(f"<iq type='set'><query {ROSTER}><item jid='{{romeo}}' subscription='none' approved='true'/></query></iq>")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    romeo.receives_all_of("<presence from='{juliet}' type='subscribed'/>", push("{juliet}", "to"),
                          "<presence from='{juliet/b}'/>")
    juliet.receives(push("{romeo}", "from"))
    stage.settles()
    juliet.receives_no("<presence type='subscribe'/>")


@play("subscription", "rfc6121-3.4.2")
def pre_approval_can_be_taken_back(stage):
    romeo, juliet = pair(stage)
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    juliet.receives(f"<iq type='set'><query {ROSTER}><item jid='{{romeo}}' approved='true'/></query></iq>")
    juliet.sends("<presence to='{romeo}' type='unsubscribed'/>")
    juliet.settles()
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence from='{romeo}' type='subscribe'/>")


@play("subscription", "rfc6121-8.5.1")
def what_is_asked_of_nobody_is_not_answered(stage):
    romeo = stage.online("romeo/a")
    nobody = f"nobody-of-that-name@{stage.domain}"
    romeo.sends(f"<presence to='{nobody}' type='subscribe'/>")
    romeo.settles()
    assert state_of(romeo, nobody) == ("none", True)
    for kind in ("unsubscribe", "subscribed", "unsubscribed"):
        romeo.sends(f"<presence to='{nobody}' type='{kind}'/>")
    romeo.settles()
    for kind in ("subscribed", "unsubscribed", "error"):
        romeo.receives_no(f"<presence type='{kind}'/>")


@play("subscription", "rfc6121-3.1.2")
def asking_oneself_does_nothing(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<presence to='{romeo}' type='subscribe'/>")
    romeo.settles()
    assert state_of(romeo, "{romeo}") == (None, False)


@play("subscription", "lessons")
def two_who_approve_each_other_at_the_same_moment_are_both(stage):
    romeo, juliet = pair(stage)
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribe'/>")
    romeo.receives("<presence type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    romeo.sends("<presence to='{juliet}' type='subscribed'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    romeo.receives(push("{juliet}", "both"))
    juliet.receives(push("{romeo}", "both"))


@play("subscription", "rfc6121-3.1.1")
def an_item_that_is_there_keeps_name_and_groups(stage):
    romeo, juliet = pair(stage)
    romeo.sets(f"<query {ROSTER}><item jid='{{juliet}}' name='Jule'><group>Love</group></item></query>")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    romeo.receives(f"<iq type='set'><query {ROSTER}><item jid='{{juliet}}' name='Jule' subscription='none' ask='subscribe'>"
                   "<group>Love</group></item></query></iq>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    romeo.receives(f"<iq type='set'><query {ROSTER}><item jid='{{juliet}}' name='Jule' subscription='to' ask='{{absent}}'>"
                   "<group>Love</group></item></query></iq>")


@play("subscription", "lessons")
def subscribed_reaches_resources_that_have_not_asked_for_the_roster(stage):
    romeo, juliet = stage.online("romeo/a", interested=False), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    romeo.receives("<presence from='{juliet}' type='subscribed'/>")
    romeo.receives("<presence from='{juliet/b}'/>")


# Appendix A.2: what an outbound stanza does to the user's own state; A.3: what an inbound one does to the contact's.
OUTBOUND = {
    "subscribe": {"none": "none+out", "none+in": "none+out+in", "from": "from+out"},
    "unsubscribe": {"none+out": "none", "none+out+in": "none+in", "to": "none", "to+in": "none+in", "from+out": "from",
                    "both": "from"},
    "subscribed": {"none+in": "from", "none+out+in": "from+out", "to+in": "both"},
    "unsubscribed": {"none+in": "none", "none+out+in": "none+out", "to+in": "to", "from": "none", "from+out": "none+out",
                     "both": "to"},
}
INBOUND = {
    "subscribe": {"none": "none+in", "none+out": "none+out+in", "to": "to+in"},
    "unsubscribe": {"none+in": "none", "none+out+in": "none+out", "to+in": "to", "from": "none", "from+out": "none+out",
                    "both": "to"},
    "subscribed": {"none+out": "to", "none+out+in": "to+in", "from+out": "both"},
    "unsubscribed": {"none+out": "none", "none+out+in": "none+in", "to": "none", "to+in": "none+in", "from+out": "from",
                     "both": "from"},
}
MIRROR = {"none": "none", "none+out": "none+in", "none+in": "none+out", "none+out+in": "none+out+in", "to": "from",
          "to+in": "from+out", "from": "to", "from+out": "to+in", "both": "both"}


def seen(stage, client, contact):
    """The state in a roster, as a client sees it: a waiting question of the other side is not part of it."""
    subscription, asked = state_of(client, contact)
    return (subscription or "none") + ("+out" if asked else "")


def without_in(state):
    return state.replace("+in", "")


def table_play(type, state):
    """One cell of the tables: romeo, in `state` towards juliet, sends `type`; both rosters end where the tables say."""
    def a_cell(stage):
        romeo, juliet = pair(stage)
        brought_to(stage, romeo, juliet, state)
        romeo.sends(f"<presence to='{{juliet}}' type='{type}'/>")
        stage.settles()
        own = OUTBOUND[type].get(state, state)
        theirs = INBOUND[type].get(MIRROR[state], MIRROR[state])
        got = seen(stage, romeo, "{juliet}"), seen(stage, juliet, "{romeo}")
        assert got == (without_in(own), without_in(theirs)), f"{got} and not {own}, {theirs}"
        delivered = any(element.get("type") == type for element in juliet.queue if element.tag.endswith("}presence"))
        if MIRROR[state] in INBOUND[type]:
            assert delivered, "the contact is told"
        elif type in ("subscribed", "unsubscribed"):
            assert not delivered, "the contact is not told what changes nothing"
    named = {"none": "none", "to": "to", "from": "from", "both": "both", "out": "pending_out", "in": "pending_in"}
    a_cell.__name__ = f"{type}_in_state_" + "_".join(named[part] for part in state.split("+"))
    return a_cell


for _type in OUTBOUND:
    for _state in STATES:
        play("subscription", "rfc6121-A")(table_play(_type, _state))
