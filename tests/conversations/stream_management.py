"""Stream management: XEP-0198, and what a resumption keeps."""
from support.client import SM
from support.plays import play

STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


def managed(stage, who, available=True, window=None):
    """A session with stream management, its window of seconds if told; .previd to resume it by."""
    client = stage.login(who)
    enabled = client.manages_stream(window=window)
    client.previd = enabled.get("id")
    if available:
        stage.available(client)
    return client


def resumes(stage, actor, previd, handled):
    client = stage.authenticated(actor)
    client.sends_raw(f"<resume xmlns='{SM}' previd='{previd}' h='{handled}'/>")
    return client


def resumed(stage, actor, old, handled=None):
    """Resumes the session of `old` on a new connection."""
    handled = old.handled if handled is None else handled
    client = resumes(stage, actor, old.previd, handled)
    client.counts, client.handled, client.jid, client.previd = True, handled, old.jid, old.previd
    client.resumption = client.receives(f"<resumed xmlns='{SM}' previd='{old.previd}' h='{{any}}'/>")
    return client


def bodies(client):
    return [element.find("{jabber:client}body").text for element in client.queue
            if element.find("{jabber:client}body") is not None]


def chat(to, body):
    return f"<message to='{to}' type='chat' id='{body}'><body>{body}</body></message>"


@play("sm", "xep0198-3")
def enabling_gives_an_id_and_a_time(stage):
    romeo = stage.login("romeo/a")
    enabled = romeo.manages_stream()
    assert enabled.get("resume") in ("true", "1") and len(enabled.get("id")) >= 16
    assert int(enabled.get("max")) > 0


@play("sm", "xep0198-3")
def every_session_has_another_id(stage):
    assert managed(stage, "romeo/a").previd != managed(stage, "romeo/b").previd


@play("sm", "xep0198-3")
def enabling_without_resumption_gives_no_id(stage):
    romeo = stage.login("romeo/a")
    enabled = romeo.manages_stream(resume=False)
    assert enabled.get("resume") in (None, "false", "0")


@play("sm", "xep0198-3")
def enabling_before_binding_fails(stage):
    client = stage.authenticated("romeo")
    client.sends_raw(f"<enable xmlns='{SM}' resume='true'/>")
    client.receives(f"<failed xmlns='{SM}'><unexpected-request xmlns='{STANZAS}'/></failed>")
    client.binds()


@play("sm", "xep0198-3")
def enabling_twice_fails(stage):
    romeo = managed(stage, "romeo/a")
    romeo.sends_raw(f"<enable xmlns='{SM}'/>")
    element = romeo._take(lambda one: one.tag == f"{{{SM}}}failed" or one.tag.endswith("}error"), "a failure", 8)
    assert element is not None


@play("sm", "xep0198-4")
def a_request_is_answered_with_the_count(stage):
    romeo = managed(stage, "romeo/a", available=False)
    assert romeo.acknowledged() == 0
    romeo.sends("<presence/>")
    romeo.settles()
    for number in range(3):
        romeo.sends(chat("{romeo}", f"m{number}"))
    romeo.settles()
    assert romeo.acknowledged() == 6, "presence, three messages, two pings"


@play("sm", "xep0198-4")
def each_request_is_answered(stage):
    romeo = managed(stage, "romeo/a")
    romeo.settles()
    roster = "<iq type='get' id='{0}'><query xmlns='jabber:iq:roster'/></iq><r xmlns='{1}'/>"
    romeo.sends_raw("".join(roster.format(f"roster-{n}", SM) for n in range(3)))
    answers = [romeo.receives(f"<a xmlns='{SM}' h='{{any}}'/>") for _ in range(3)]
    assert answers[-1].get("h") == "5", "presence, ping, three requests"


@play("sm", "xep0198-4")
def a_request_before_enabling_is_not_answered_with_a_count(stage):
    romeo = stage.login("romeo/a")
    romeo.sends_raw(f"<r xmlns='{SM}'/>")
    try:
        romeo.settles()
    except AssertionError:
        return  # the stream ended: as good
    romeo.receives_no(f"<a xmlns='{SM}'/>")


@play("sm", "xep0198-4")
def acknowledgements_before_enabling_are_recoverable(stage):
    romeo = stage.login("romeo/a")
    for text in (f"<a xmlns='{SM}' h='1'/>", f"<r xmlns='{SM}'/>"):
        romeo.sends_raw(text)
        romeo.receives(f"<failed xmlns='{SM}'><unexpected-request xmlns='{STANZAS}'/></failed>")
    romeo.settles()


@play("sm", "xep0198-4")
def only_stanzas_count(stage):
    romeo = managed(stage, "romeo/a", available=False)
    for _ in range(3):
        romeo.acknowledged()
        romeo.sends_raw(" ")
    assert romeo.acknowledged() == 0


@play("sm", "xep0198-4")
def the_server_asks_for_acknowledgements(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.answers_acks = False
    juliet.acknowledges()
    for number in range(10):
        romeo.sends(chat("{juliet/b}", f"m{number}"))
    juliet.receives(f"<r xmlns='{SM}'/>", timeout=20)


@play("sm", "xep0198-4")
def a_count_that_is_too_high_ends_the_stream(stage):
    romeo = managed(stage, "romeo/a")
    romeo.acknowledges(1000)
    error = romeo.stream_error("undefined-condition")
    told = error.find(f"{{{SM}}}handled-count-too-high")
    assert told is not None and told.get("h") == "1000", "the count that was wrong"


@play("sm", "xep0198-4")
def a_count_just_below_its_overflow_is_too_high(stage):
    for handled in (4294967295, 2147483700):
        romeo = managed(stage, "romeo/a")
        romeo.settles().acknowledges(handled)
        error = romeo.stream_error("undefined-condition")
        assert error.find(f"{{{SM}}}handled-count-too-high") is not None


@play("sm", "xep0198-5")
def a_broken_session_resumes_with_its_address_and_counts(stage):
    romeo = managed(stage, "romeo/a")
    romeo.sends(chat("{romeo}", "one"))
    romeo.settles()
    romeo.drops()
    again = resumed(stage, "romeo", romeo)
    assert again.resumption.get("h") == "3", "presence, message, ping"
    again.settles()
    again.sends("<message to='{juliet}' type='chat'><body>x</body></message>")
    assert again.acknowledged() == 5


@play("sm", "xep0198-5")
def what_was_not_acknowledged_comes_again_in_order_and_once(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.answers_acks = False
    before = juliet.handled
    for number in range(10):
        romeo.sends(chat("{juliet/b}", f"m{number}"))
    romeo.settles()
    juliet.settles()
    assert bodies(juliet) == [f"m{number}" for number in range(10)]
    juliet.drops()
    again = resumed(stage, "juliet", juliet, handled=before + 4)  # the first four were handled
    again.settles()
    assert bodies(again) == [f"m{number}" for number in range(4, 10)], bodies(again)


@play("sm", "xep0198-5", "delivery")
def what_was_sent_while_away_comes_at_the_resumption(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.drops()
    for number in range(20):
        romeo.sends(chat("{juliet/b}", f"m{number}"))
    romeo.settles()
    again = resumed(stage, "juliet", juliet)
    again.settles()
    assert bodies(again) == [f"m{number}" for number in range(20)], bodies(again)
    romeo.receives_no("<message type='error'/>")


@play("sm", "xep0198-5", "delivery")
def live_messages_do_not_overtake_the_backlog_of_a_resumption(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.drops()
    for number in range(50):
        romeo.sends(chat("{juliet/b}", f"m{number}"))
    again = resumed(stage, "juliet", juliet)
    for number in range(50, 80):
        romeo.sends(chat("{juliet/b}", f"m{number}"))
    stage.settles(romeo, again)
    assert bodies(again) == [f"m{number}" for number in range(80)], bodies(again)


@play("sm", "xep0198-5", "delivery")
def contacts_see_no_flap_while_a_session_waits_to_resume(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    romeo.receives("<presence from='{juliet/b}'/>")
    juliet.drops()
    romeo.settles()
    again = resumed(stage, "juliet", juliet)
    stage.settles(romeo, again)
    romeo.receives_no("<presence from='{juliet/b}' type='unavailable'/>")
    romeo.receives_no("<presence from='{juliet/b}'/>")


@play("sm", "xep0198-5", "delivery")
def presence_that_changed_while_away_is_known_after_the_resumption(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    stage.settles()
    juliet.drops()
    for show in ("away", "xa", "dnd"):
        romeo.sends(f"<presence><show>{show}</show></presence>")
    romeo.settles()
    again = resumed(stage, "juliet", juliet)
    again.receives("<presence from='{romeo/a}'><show>dnd</show></presence>")


@play("sm", "xep0198-5")
def a_session_can_be_resumed_while_its_connection_still_lives(stage):
    romeo = managed(stage, "romeo/a")
    romeo.settles()
    again = resumed(stage, "romeo", romeo)
    romeo.is_ended()
    again.settles()


@play("sm", "xep0198-5")
def a_session_resumes_many_times(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    for number in range(5):
        juliet.drops()
        romeo.sends(chat("{juliet/b}", f"m{number}"))
        romeo.settles()
        juliet = resumed(stage, "juliet", juliet)
        juliet.receives(f"<message type='chat'><body>m{number}</body></message>")
        juliet.settles()


@play("sm", "xep0198-5")
def an_unknown_session_is_item_not_found_and_binding_goes_on(stage):
    client = resumes(stage, "romeo", "no-such-session", 0)
    client.receives(f"<failed xmlns='{SM}'><item-not-found xmlns='{STANZAS}'/></failed>")
    client.binds("a")
    client.settles()


@play("sm", "xep0198-5")
def another_ones_session_is_not_resumed(stage):
    juliet = managed(stage, "juliet/b")
    mallory = resumes(stage, "mallory", juliet.previd, 0)
    mallory.receives(f"<failed xmlns='{SM}'/>")
    juliet.settles()


@play("sm", "xep0198-5")
def a_count_that_is_too_high_at_resumption_fails(stage):
    romeo = managed(stage, "romeo/a")
    romeo.drops()
    client = resumes(stage, "romeo", romeo.previd, 1000)
    element = client._take(lambda one: one.tag == f"{{{SM}}}failed" or one.tag.endswith(("}error", "}ended")), "a failure", 8)
    assert element is not None


@play("sm", "xep0198-5")
def a_count_just_below_its_overflow_is_too_high_to_resume(stage):
    romeo = managed(stage, "romeo/a")
    romeo.settles()
    romeo.drops()
    for handled in (4294967295, 2147483700):
        element = resumes(stage, "romeo", romeo.previd, handled)._take(
            lambda one: one.tag.startswith(f"{{{SM}}}") or one.tag.endswith(("}error", "}ended")), "a refusal", 8)
        assert not element.tag.endswith("}resumed"), "it was resumed"


@play("sm", "xep0198-5", "delivery")
def a_refused_count_leaves_the_session_as_it_was(stage):
    romeo, juliet = managed(stage, "romeo/a"), stage.online("juliet/b")
    romeo.settles()
    resumes(stage, "romeo", romeo.previd, 1000)._take(
        lambda one: one.tag == f"{{{SM}}}failed" or one.tag.endswith("}error"), "a refusal", 8)
    juliet.sends("<message to='{romeo/a}' type='chat'><body>still there?</body></message>")
    romeo.receives("<message type='chat'><body>still there?</body></message>")
    romeo.settles()


@play("sm", "xep0198-5", "delivery")
def who_could_not_resume_a_live_session_does_not_leave_it_behind_for_ever(stage):
    stage.friends("romeo", "juliet")
    juliet, romeo = stage.online("juliet/b"), managed(stage, "romeo/a", window=2)
    juliet.receives("<presence from='{romeo/a}'/>")
    resumes(stage, "romeo", romeo.previd, 1000).receives(f"<failed xmlns='{SM}'/>")
    romeo.drops()
    juliet.receives("<presence from='{romeo/a}' type='unavailable'/>")


@play("sm", "xep0198-5")
def resuming_without_id_or_count_fails(stage):
    for text in (f"<resume xmlns='{SM}'/>", f"<resume xmlns='{SM}' previd='x'/>", f"<resume xmlns='{SM}' previd='x' h='y'/>"):
        client = stage.authenticated("romeo")
        client.sends_raw(text)
        element = client._take(lambda one: one.tag == f"{{{SM}}}failed" or one.tag.endswith("}error"), "a failure", 8)
        assert element is not None


@play("sm", "xep0198-5")
def a_closed_session_cannot_be_resumed(stage):
    romeo = managed(stage, "romeo/a")
    romeo.closes()
    resumes(stage, "romeo", romeo.previd, romeo.handled).receives(
        f"<failed xmlns='{SM}'><item-not-found xmlns='{STANZAS}'/></failed>")


@play("sm", "xep0198-5", "delivery")
def a_failed_resumption_tells_how_far_the_server_got(stage):
    romeo = managed(stage, "romeo/a")
    romeo.sends(chat("{romeo}", "one"))
    romeo.settles()
    romeo.closes()
    failed = resumes(stage, "romeo", romeo.previd, romeo.handled).receives(f"<failed xmlns='{SM}'/>")
    assert failed.get("h") in (None, "3"), "h, if given, is the truth"


@play("sm", "xep0198-5", "delivery")
def a_new_login_with_the_resource_of_a_waiting_session_gets_its_messages(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.drops()
    romeo.sends(chat("{juliet/b}", "hello"))
    romeo.settles()
    again = stage.online("juliet/b")
    again.receives("<message type='chat'><body>hello</body></message>")


@play("sm", "xep0198-5", "delivery", "offline")
def what_a_waiting_session_did_not_deliver_goes_to_one_that_is_there(stage):
    romeo, phone = stage.online("romeo/a"), stage.login("juliet/phone")
    phone.manages_stream(window=2)
    stage.available(phone)
    phone.drops()
    for body in ("one", "two"):
        romeo.sends(chat("{juliet}", body))
    romeo.settles()
    laptop = stage.online("juliet/laptop")
    romeo.sends(chat("{juliet}", "three"))
    got = [laptop.receives("<message type='chat'><body/></message>").find("{jabber:client}body").text for _ in range(3)]
    assert sorted(got) == ["one", "three", "two"] and got.index("one") < got.index("two"), got
    romeo.sends(chat("{juliet}", "four"))
    laptop.receives("<message type='chat'><body>four</body></message>")
    romeo.settles()
    laptop.closes()
    stage.online("juliet/laptop").receives_no("<message type='chat'/>", 0.3)


@play("sm", "xep0198-6", "delivery")
def a_message_that_is_sent_again_after_a_resumption_is_not_doubled(stage):
    romeo, juliet = managed(stage, "romeo/a"), stage.online("juliet/b")
    romeo.sends(chat("{juliet/b}", "once"))
    romeo.settles()
    romeo.drops()
    again = resumed(stage, "romeo", romeo)
    assert int(again.resumption.get("h")) == 3, "the server has it: nothing to send again"
    stage.settles(again, juliet)
    assert bodies(juliet).count("once") == 1


@play("sm", "xep0198-5", "carbons")
def carbons_stay_on_through_a_resumption(stage):
    phone = managed(stage, "romeo/phone")
    phone.sets("<enable xmlns='urn:xmpp:carbons:2'/>")
    laptop, juliet = stage.online("romeo/laptop"), stage.online("juliet/b")
    stage.settles()
    phone.drops()
    phone = resumed(stage, "romeo", phone)
    laptop.sends(chat("{juliet/b}", "hello"))
    phone.receives("<message type='chat'><sent xmlns='urn:xmpp:carbons:2'/></message>")


@play("sm", "xep0198-5", "delivery")
def an_iq_that_was_not_acknowledged_comes_again(stage):
    romeo, juliet = stage.online("romeo/a"), managed(stage, "juliet/b")
    juliet.drops()
    romeo.sends("<iq type='get' id='q1' to='{juliet/b}'><query xmlns='urn:example:game'/></iq>")
    romeo.settles()
    again = resumed(stage, "juliet", juliet)
    again.receives("<iq type='get' id='q1' from='{romeo/a}'><query xmlns='urn:example:game'/></iq>")


def identified(to, body, origin):
    return (f"<message to='{to}' type='chat' id='{body}'><body>{body}</body>"
            f"<origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/></message>")


@play("sm", "xep0198-5", "xep0359", "delivery")
def what_is_sent_again_after_a_failed_resumption_is_not_doubled(stage):
    romeo, juliet = managed(stage, "romeo/a"), stage.online("juliet/b")
    romeo.sends(identified("{juliet/b}", "once", "o-1"))
    romeo.settles()
    juliet.receives("<message type='chat'><body>once</body></message>")
    romeo.closes()
    again = resumes(stage, "romeo", romeo.previd, romeo.handled)
    again.receives(f"<failed xmlns='{SM}'/>")
    again.binds("a")
    again.manages_stream()
    again.sends(identified("{juliet/b}", "once", "o-1"))
    again.sends(identified("{juliet/b}", "another text", "o-1"))
    again.sends(identified("{juliet/b}", "next", "o-2"))
    again.settles()
    juliet.settles()
    assert bodies(juliet) == ["another text", "next"], bodies(juliet)
    again.sends_raw(f"<r xmlns='{SM}'/>")
    assert again.receives(f"<a xmlns='{SM}' h='{{any}}'/>").get("h") == "4", "what was dropped is counted"


@play("sm", "xep0359", "delivery")
def without_a_failed_resumption_the_same_message_is_another_one(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    for _ in range(2):
        romeo.sends(identified("{juliet/b}", "twice", "o-1"))
    romeo.settles()
    juliet.settles()
    assert bodies(juliet) == ["twice", "twice"], bodies(juliet)
