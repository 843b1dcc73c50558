"""The roster: RFC 6121 §2."""
from support.plays import play

ROSTER = "xmlns='jabber:iq:roster'"
EMPTY = f"<query {ROSTER}/>"


def item(jid, inside="", **attributes):
    text = "".join(f" {key}='{value}'" for key, value in attributes.items())
    return f"<query {ROSTER}><item jid='{jid}'{text}>{inside}</item></query>"


@play("roster", "rfc6121-2.1.6")
def a_roster_set_is_pushed_to_every_interested_resource(stage):
    laptop = stage.login("romeo/laptop")
    phone = stage.login("romeo/phone")
    for client in (laptop, phone):  # asking for the roster is what makes a resource interested
        client.sends(f"<iq type='get' id='r1'>{EMPTY}</iq>")
        client.receives(f"<iq type='result' id='r1'>{EMPTY}</iq>")
    laptop.sends(f"<iq type='set' id='r2'>{item('nurse@capulet.example')}</iq>")
    push = f"<iq type='set' id='{{any}}'>{item('nurse@capulet.example', subscription='none')}</iq>"
    laptop.receives_all_of(push, "<iq type='result' id='r2'/>")
    phone.receives(push)


@play("roster", "rfc6121-2.1.6")
def a_resource_that_has_not_asked_for_the_roster_gets_no_push(stage):
    laptop, phone = stage.online("romeo/laptop"), stage.online("romeo/phone", interested=False)
    laptop.sets(item("nurse@capulet.example"))
    stage.settles()
    phone.receives_no(f"<iq type='set'>{EMPTY}</iq>")


@play("roster", "rfc6121-2.1.6")
def a_push_has_no_from_or_the_bare_address_of_the_account(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example"))
    push = romeo.receives(f"<iq type='set'>{EMPTY}</iq>")
    assert push.get("from") in (None, romeo.jid.split("/")[0]), push.attrib
    assert push.get("to") == romeo.jid, push.attrib


@play("roster", "rfc6121-2.2")
def a_new_account_has_an_empty_roster(stage):
    reply = stage.login("romeo/laptop").asks(EMPTY)
    assert list(reply[0]) == [], "items"


@play("roster", "rfc6121-2.3")
def an_item_keeps_name_and_groups(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example", "<group>Servants</group><group>Friends</group>", name="Nurse &amp; co"))
    wanted = f"""<iq type='result'><query {ROSTER}><item jid='nurse@capulet.example' name='Nurse &amp; co'
        subscription='none'><group>Servants</group><group>Friends</group></item></query></iq>"""
    romeo.sends(f"<iq type='get' id='again'>{EMPTY}</iq>")
    romeo.receives(wanted)
    again = stage.login("romeo/phone")
    again.sends(f"<iq type='get' id='again'>{EMPTY}</iq>")
    again.receives(wanted)


@play("roster", "rfc6121-2.4")
def an_update_replaces_name_and_groups(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example", "<group>Servants</group>", name="Nurse"))
    romeo.receives(f"<iq type='set'>{item('nurse@capulet.example', '<group>Servants</group>', name='Nurse')}</iq>")
    romeo.sets(item("nurse@capulet.example", "<group>Family</group>"))
    romeo.receives(f"<iq type='set'><query {ROSTER}><item jid='nurse@capulet.example' name='{{absent}}'>"
                   "<group>Family</group></item></query></iq>")
    reply = romeo.asks(EMPTY)
    groups = [group.text for group in reply.iter("{jabber:iq:roster}group")]
    assert groups == ["Family"], groups


@play("roster", "rfc6121-2.5")
def a_removed_item_is_pushed_as_removed_and_gone(stage):
    laptop, phone = stage.online("romeo/laptop"), stage.online("romeo/phone")
    laptop.sets(item("nurse@capulet.example"))
    for client in (laptop, phone):
        client.receives(f"<iq type='set'>{item('nurse@capulet.example', subscription='none')}</iq>")
    laptop.sets(item("nurse@capulet.example", subscription="remove"))
    for client in (laptop, phone):
        client.receives(f"<iq type='set'>{item('nurse@capulet.example', subscription='remove')}</iq>")
    assert list(laptop.asks(EMPTY)[0]) == []


@play("roster", "rfc6121-2.5.3")
def removing_what_is_not_there_is_item_not_found(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example", subscription="remove"), error="item-not-found")


@play("roster", "rfc6121-2.5.2")
def removing_a_friend_ends_both_subscriptions(stage):
    stage.friends("romeo", "juliet")
    romeo, juliet = stage.online("romeo/laptop"), stage.online("juliet/balcony")
    stage.settles()
    romeo.forgets()
    juliet.forgets()
    romeo.sets(item("{juliet}", subscription="remove"))
    romeo.receives(f"<iq type='set'>{item('{juliet}', subscription='remove')}</iq>")
    juliet.receives("<presence from='{romeo}' type='unsubscribe'/>")
    juliet.receives("<presence from='{romeo}' type='unsubscribed'/>")
    juliet.receives(f"<iq type='set'>{item('{romeo}', subscription='none')}</iq>")
    juliet.receives("<presence from='{romeo/laptop}' type='unavailable'/>")
    romeo.receives("<presence from='{juliet/balcony}' type='unavailable'/>")


@play("roster", "rfc6121-2.3.3")
def a_set_without_an_item_or_with_two_is_a_bad_request(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(EMPTY, error="bad-request")
    romeo.sets(f"<query {ROSTER}><item jid='a@b.example'/><item jid='c@d.example'/></query>", error="bad-request")
    assert list(romeo.asks(EMPTY)[0]) == []


@play("roster", "rfc6121-2.3.3")
def a_set_without_an_address_is_a_bad_request(stage):
    stage.online("romeo/laptop").sets(f"<query {ROSTER}><item name='x'/></query>", error="bad-request")


@play("roster", "rfc6121-2.3.3")
def an_address_that_is_none_is_refused(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sends(f"<iq type='set' id='bad'>{item('@capulet.example')}</iq>")
    reply = romeo.receives("<iq type='error' id='bad'><error type='modify'/></iq>")
    assert reply is not None


@play("roster", "rfc6121-2.3.3")
def a_duplicate_group_is_a_bad_request(stage):
    stage.online("romeo/laptop").sets(item("a@b.example", "<group>x</group><group>x</group>"), error="bad-request")


@play("roster", "rfc6121-2.3.3")
def an_empty_group_is_not_acceptable(stage):
    stage.online("romeo/laptop").sets(item("a@b.example", "<group></group>"), error="not-acceptable")


@play("roster", "rfc6121-2.1.2.5")
def a_client_cannot_set_the_subscription(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example", subscription="both"))
    romeo.receives(f"<iq type='set'>{item('nurse@capulet.example', subscription='none')}</iq>")


@play("roster", "rfc6121-2.1.2.1")
def a_client_cannot_set_ask(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example", ask="subscribe"))
    romeo.receives(f"<iq type='set'>{item('nurse@capulet.example', subscription='none', ask='{absent}')}</iq>")


@play("roster", "rfc6121-2.1.5")
def nobody_reads_another_ones_roster(stage):
    stage.friends("romeo", "juliet")
    romeo = stage.online("romeo/laptop")
    for type in ("get", "set"):
        romeo.sends(f"<iq type='{type}' id='{type}' to='{{juliet}}'>{item('a@b.example') if type == 'set' else EMPTY}</iq>")
        reply = romeo.receives(f"<iq type='error' id='{type}' from='{{juliet}}'><error/></iq>")
        assert any(name in {child.tag.split("}")[1] for child in reply.iter()}
                   for name in ("forbidden", "service-unavailable")), "an error that says no"


@play("roster", "rfc6121-2.3.3")
def setting_through_the_own_bare_address_is_the_same(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example"), to="{romeo}")
    romeo.receives(f"<iq type='set'>{item('nurse@capulet.example')}</iq>")


@play("roster", "rfc6121-2.6")
def versioning_is_announced(stage):
    client = stage.authenticated("romeo")
    assert client.features.find("{urn:xmpp:features:rosterver}ver") is not None


@play("roster", "rfc6121-2.6.2")
def an_unchanged_roster_is_answered_by_an_empty_result(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("nurse@capulet.example"))
    version = romeo.asks(f"<query {ROSTER} ver=''/>")[0].get("ver")
    assert version, "a roster version"
    reply = romeo.asks(f"<query {ROSTER} ver='{version}'/>")
    assert len(reply) == 0, "no query, nothing has changed"


@play("roster", "rfc6121-2.6.3")
def a_changed_roster_comes_whole_or_as_pushes(stage):
    romeo, phone = stage.online("romeo/laptop"), stage.login("romeo/phone")
    version = romeo.asks(f"<query {ROSTER} ver=''/>")[0].get("ver")
    romeo.sets(item("nurse@capulet.example"))
    phone.sends(f"<iq type='get' id='v'><query {ROSTER} ver='{version}'/></iq>")
    reply = phone.receives("<iq type='result' id='v'/>")
    if len(reply):
        assert [one.get("jid") for one in reply[0]] == ["nurse@capulet.example"]
    else:
        phone.receives(f"<iq type='set'>{item('nurse@capulet.example')}</iq>")


@play("roster", "rfc6121-2.6.2")
def every_push_carries_a_new_version(stage):
    romeo = stage.login("romeo/laptop")
    first = romeo.asks(f"<query {ROSTER} ver=''/>")[0].get("ver")
    romeo.sets(item("nurse@capulet.example"))
    one = romeo.receives(f"<iq type='set'>{EMPTY}</iq>")[0].get("ver")
    romeo.sets(item("friar@capulet.example"))
    two = romeo.receives(f"<iq type='set'>{EMPTY}</iq>")[0].get("ver")
    assert len({first, one, two}) == 3, (first, one, two)


@play("roster", "rfc6121-2.3")
def addresses_are_prepared_before_they_are_compared(stage):
    romeo = stage.online("romeo/laptop")
    romeo.sets(item("Nurse@CAPULET.example", name="one"))
    romeo.sets(item("nurse@capulet.example", name="two"))
    items = romeo.asks(EMPTY)[0]
    assert [(one.get("jid"), one.get("name")) for one in items] == [("nurse@capulet.example", "two")]


@play("roster", "delivery")
def two_hundred_items_come_in_one_result(stage):
    romeo = stage.login("romeo/laptop")
    for number in range(200):
        romeo.sends(f"<iq type='set' id='s{number}'>{item(f'friend{number}@capulet.example', name=f'Friend {number}')}</iq>")
    romeo.settles()
    assert len(romeo.asks(EMPTY)[0]) == 200
