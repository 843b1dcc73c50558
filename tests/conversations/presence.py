"""Exchanging presence: RFC 6121 §4."""
from support.plays import play


@play("presence", "rfc6121-4.2.2")
def initial_presence_comes_back_and_goes_to_the_other_resources(stage):
    laptop = stage.online("romeo/laptop")
    phone = stage.online("romeo/phone")
    laptop.receives("<presence from='{romeo/phone}' to='{romeo/laptop}'/>")
    phone.receives("<presence from='{romeo/laptop}'/>")


@play("presence", "rfc6121-4.2.2")
def initial_presence_goes_to_contacts_with_from_or_both(stage):
    stage.friends("romeo", "juliet")
    juliet = stage.online("juliet/b")
    romeo = stage.login("romeo/a")
    romeo.sends("<presence><show>away</show><status>here</status><priority>3</priority></presence>")
    juliet.receives("<presence from='{romeo/a}'><show>away</show><status>here</status><priority>3</priority></presence>")


@play("presence", "rfc6121-4.2.2", "rfc6121-4.3.2")
def initial_presence_probes_contacts(stage):
    stage.friends("romeo", "juliet")
    first, second = stage.online("juliet/b"), stage.online("juliet/c")
    first.sends("<presence><show>xa</show></presence>")
    second.sends("<presence><show>chat</show></presence>")
    stage.settles()
    romeo = stage.online("romeo/a")
    romeo.receives_all_of("<presence from='{juliet/b}'><show>xa</show></presence>",
                          "<presence from='{juliet/c}'><show>chat</show></presence>")


@play("presence", "rfc6121-4.4.2")
def later_presence_is_broadcast_but_does_not_probe_again(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    stage.settles()
    romeo.forgets()
    juliet.forgets()
    romeo.sends("<presence><show>dnd</show></presence>")
    juliet.receives("<presence from='{romeo/a}'><show>dnd</show></presence>")
    stage.settles()
    romeo.receives_no("<presence from='{juliet/b}'/>")


@play("presence", "rfc6121-4.2.2")
def somebody_without_a_subscription_sees_nothing(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence><status>x</status></presence>")
    stage.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")


@play("presence", "rfc6121-4.5.2")
def unavailable_goes_to_contacts_with_its_status(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    stage.settles()
    romeo.sends("<presence type='unavailable'><status>gone home</status></presence>")
    juliet.receives("<presence from='{romeo/a}' type='unavailable'><status>gone home</status></presence>")


@play("presence", "rfc6121-4.5.2")
def after_unavailable_no_presence_arrives_and_coming_back_is_initial(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    romeo.sends("<presence type='unavailable'/>")
    stage.settles()
    romeo.forgets()
    juliet.sends("<presence><status>1</status></presence>")
    stage.settles()
    romeo.receives_no("<presence from='{juliet/b}'/>")
    stage.available(romeo)
    romeo.receives("<presence from='{juliet/b}'><status>1</status></presence>")


@play("presence", "rfc6121-4.5.2")
def who_becomes_unavailable_sees_it_himself(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<presence type='unavailable'><status>bye</status></presence>")
    romeo.receives("<presence from='{romeo/a}' to='{romeo/a}' type='unavailable'><status>bye</status></presence>")


@play("presence", "rfc6121-4.5.2")
def a_closed_stream_is_unavailable(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    stage.settles()
    romeo.closes()
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")


@play("presence", "rfc6121-4.5.2")
def a_broken_connection_is_unavailable(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    stage.settles()
    romeo.drops()
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")


@play("presence", "rfc6121-4.5.4")
def other_resources_see_unavailable_too(stage):
    laptop, phone = stage.online("romeo/laptop"), stage.online("romeo/phone")
    stage.settles()
    phone.closes()
    laptop.receives("<presence from='{romeo/phone}' type='unavailable'/>")


@play("presence", "rfc6121-4.5.2")
def a_session_that_was_never_available_leaves_without_a_sound(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.login("romeo/a")
    juliet.forgets()
    romeo.closes()
    juliet.settles()
    juliet.receives_no("<presence type='unavailable'/>")


@play("presence", "rfc6121-4.3")
def a_probe_of_a_client_is_answered_for_those_who_may_see(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    juliet.sends("<presence><show>xa</show></presence>")
    stage.settles()
    romeo.forgets()
    romeo.sends("<presence to='{juliet}' type='probe'/>")
    romeo.receives("<presence from='{juliet/b}'><show>xa</show></presence>")


@play("presence", "rfc6121-4.3.2")
def a_probe_of_a_stranger_tells_nothing(stage):
    stage.online("juliet/b")
    romeo = stage.online("romeo/a")
    romeo.sends("<presence to='{juliet}' type='probe'/>")
    romeo.settles()
    romeo.receives_no("<presence from='{juliet/b}'/>")


@play("presence", "rfc6121-4.3.2")
def a_probe_of_nobody_looks_like_one_of_a_stranger(stage):
    romeo = stage.online("romeo/a")
    stage.online("juliet/b")
    for to in ("{juliet}", "nobody-of-that-name@{domain}"):
        romeo.sends(f"<presence to='{to}' type='probe'/>")
        romeo.receives(f"<presence from='{to}' type='unsubscribed'/>")


@play("presence", "rfc6121-4.6.3")
def directed_presence_reaches_a_stranger(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet/b}'><status>hello</status></presence>")
    juliet.receives("<presence from='{romeo/a}' to='{juliet/b}'><status>hello</status></presence>")


@play("presence", "rfc6121-4.6.3")
def directed_presence_to_a_bare_address_reaches_all_resources(stage):
    romeo, one, two = stage.online("romeo/a"), stage.online("juliet/b"), stage.online("juliet/c")
    romeo.sends("<presence to='{juliet}'><status>hello</status></presence>")
    for client in (one, two):
        client.receives("<presence from='{romeo/a}'><status>hello</status></presence>")


@play("presence", "rfc6121-4.6.3")
def who_got_directed_presence_gets_unavailable(stage):
    juliet = stage.online("juliet/b")
    for leave in ("<presence type='unavailable'><status>bye</status></presence>", None, "close"):
        romeo = stage.online("romeo/a")
        romeo.sends("<presence to='{juliet/b}'/>")
        juliet.receives("<presence from='{romeo/a}'/>")
        if leave == "close":
            romeo.closes()
        elif leave:
            romeo.sends(leave)
        else:
            romeo.drops()
        juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")
        juliet.settles()
        juliet.receives_no("<presence from='{romeo/a}' type='unavailable'/>")
        if leave and leave != "close":
            romeo.closes()


@play("presence", "rfc6121-4.6.3")
def who_got_directed_presence_gets_the_unavailable_presence_itself(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet/b}'/>")
    juliet.receives("<presence from='{romeo/a}'/>")
    romeo.sends("<presence type='unavailable'><status>bye</status></presence>")
    juliet.receives("<presence from='{romeo/a}' to='{juliet/b}' type='unavailable'><status>bye</status></presence>")


@play("presence", "rfc6121-4.6.3")
def directed_unavailable_is_not_repeated(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet/b}'/><presence to='{juliet/b}' type='unavailable'/>")
    juliet.receives_in_order("<presence from='{romeo/a}'/>", "<presence from='{romeo/a}' type='unavailable'/>")
    romeo.closes()
    juliet.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")
    juliet.receives_no("<presence from='{romeo/a}' type='unavailable'/>")


@play("presence", "rfc6121-4.6.4")
def directed_presence_works_without_initial_presence(stage):
    romeo, juliet = stage.login("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet/b}'/>")
    juliet.receives("<presence from='{romeo/a}'/>")
    romeo.drops()
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")


@play("presence", "rfc6121-4.7.2.3")
def a_priority_outside_the_range_is_refused_or_bounded(stage):
    for bad in ("128", "-129", "high"):
        romeo = stage.login("romeo/a")
        romeo.sends(f"<presence id='p'><priority>{bad}</priority></presence>")
        romeo.settles()
        romeo.closes()


@play("presence", "rfc6121-4.7")
def the_limits_of_priority_are_fine(stage):
    for good in (-128, -1, 0, 127):
        stage.online("romeo/a", priority=good).closes()


@play("presence", "rfc6121-4.7.1")
def an_unknown_type_is_a_bad_request(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<presence id='odd' type='odd' to='{juliet}'/>")
    romeo.receives("<presence type='error' id='odd'><error><bad-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                   "</error></presence>")


@play("presence", "rfc6121-4.7.3")
def extended_content_is_passed_on(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    romeo.sends("<presence><x xmlns='vcard-temp:x:update'><photo>abc</photo></x>"
                "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>")
    juliet.receives("<presence from='{romeo/a}'><x xmlns='vcard-temp:x:update'><photo>abc</photo></x>"
                    "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/></presence>")


@play("presence", "rfc6121-4.2.2")
def presence_is_not_sent_to_contacts_with_to_only(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<presence to='{juliet}' type='subscribe'/>")
    juliet.receives("<presence type='subscribe'/>")
    juliet.sends("<presence to='{romeo}' type='subscribed'/>")
    romeo.receives("<presence type='subscribed'/>")
    stage.settles()
    juliet.forgets()
    romeo.sends("<presence><status>secret</status></presence>")
    stage.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")


@play("presence", "lessons")
def two_contacts_who_come_online_at_the_same_moment_see_each_other(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.login("romeo/a"), stage.login("juliet/b")
    romeo.sends("<presence/>")
    juliet.sends("<presence/>")
    romeo.receives("<presence from='{juliet/b}'/>")
    juliet.receives("<presence from='{romeo/a}'/>")


@play("presence", "delivery")
def presence_is_seen_once_by_each_resource(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), stage.online("romeo/a")
    stage.settles()
    juliet.forgets()
    romeo.sends("<presence><status>once</status></presence>")
    juliet.receives("<presence from='{romeo/a}'><status>once</status></presence>")
    stage.settles()
    juliet.receives_no("<presence from='{romeo/a}'/>")
