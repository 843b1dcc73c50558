"""Rooms: XEP-0045 with self-ping (XEP-0410), occupant ids (XEP-0421) and archives (XEP-0313)."""
import time

from support.coven import INFO, ITEM, ITEMS, MUC, OCCUPANT, OWNER, REGISTER, USER, Room, coven, registers
from support.plays import play

# --- the service

@play("rooms", "disco", "xep0045-6")
def the_service_says_that_it_has_rooms(stage):
    crone = stage.online("crone/desktop")
    items = crone.asks(f"<query {ITEMS}/>", to="{domain}")
    assert f"rooms.{stage.domain}" in [one.get("jid") for one in items[0]]
    reply = crone.asks(f"<query {INFO}/>", to="rooms.{domain}")
    assert ("conference", "text") in {(one.get("category"), one.get("type")) for one in reply[0]}
    assert MUC in {one.get("var") for one in reply[0]}


@play("rooms", "disco", "xep0045-6.3")
def public_rooms_are_listed_hidden_ones_not(stage):
    room, crone = coven(stage, roomname="A Dark Cave")
    hidden = Room(stage)
    hidden.opens(crone, publicroom="0")
    listed = {one.get("jid"): one.get("name") for one in crone.asks(f"<query {ITEMS}/>", to="rooms.{domain}")[0]}
    assert listed.get(room.jid) == "A Dark Cave" and hidden.jid not in listed


@play("rooms", "disco", "xep0059")
def the_list_of_rooms_comes_in_pages(stage):
    crone = stage.online("crone/desktop")
    rooms = [Room(stage, f"page-{letter}-") for letter in "abc"]
    for room in rooms:
        room.opens(crone)
    found, after = [], ""
    for _ in range(100):
        reply = crone.asks(f"<query {ITEMS}><set xmlns='http://jabber.org/protocol/rsm'><max>2</max>{after}</set></query>",
                           to="rooms.{domain}")
        page = [one.get("jid") for one in reply[0] if one.tag.endswith("}item")]
        assert len(page) <= 2
        if not page:
            break
        found += page
        after = f"<after>{page[-1]}</after>"
    assert len(found) == len(set(found)) and {room.jid for room in rooms} <= set(found)


@play("rooms", "disco", "xep0045-6.4")
def a_room_says_what_it_is(stage):
    room, crone = coven(stage, roomname="A Dark Cave", roomdesc="The place for all good witches!", membersonly="1",
                        moderatedroom="1", whois="anyone", persistentroom="1")
    reply = crone.asks(f"<query {INFO}/>", to=room.jid)
    features = {one.get("var") for one in reply[0] if one.tag.endswith("}feature")}
    assert {MUC, "muc_public", "muc_persistent", "muc_membersonly", "muc_moderated", "muc_nonanonymous", "muc_unsecured",
            "urn:xmpp:mam:2", "urn:xmpp:occupant-id:0", "http://jabber.org/protocol/muc#stable_id"} <= features, features
    identity = [one for one in reply[0] if one.tag.endswith("}identity")][0]
    assert identity.get("name") == "A Dark Cave"
    fields = {one.get("var"): [value.text for value in one] for one in reply.iter("{jabber:x:data}field")}
    assert fields["FORM_TYPE"] == [f"{MUC}#roominfo"]
    assert fields["muc#roominfo_occupants"] == ["1"]
    assert fields["muc#roominfo_description"] == ["The place for all good witches!"]
    assert fields["muc#roomconfig_roomname"] == ["A Dark Cave"]


@play("rooms", "disco", "xep0045-6.5")
def a_room_lists_who_is_there(stage):
    room, crone, hag = coven(stage, "hag")
    items = hag.asks(f"<query {ITEMS}/>", to=room.jid)
    assert {one.get("jid") for one in items[0]} == {f"{room.jid}/firstwitch", f"{room.jid}/hag"}
    stranger = stage.online("stranger/x")
    stranger.asks(f"<query {INFO}/>", to=f"{room.jid}/hag", error="bad-request")
    assert crone


@play("rooms", "disco", "xep0045-6")
def a_room_that_is_not_there_is_item_not_found(stage):
    room, crone = Room(stage), stage.online("crone/desktop")
    crone.asks(f"<query {INFO}/>", to=room.jid, error="item-not-found")
    crone.sends(f"<message to='{room.jid}' type='groupchat' id='x'><body>anybody?</body></message>")
    crone.receives("<message type='error' id='x'><error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    room.enters(crone, "firstwitch", status=(201,))


# --- creating

@play("rooms", "xep0045-10.1")
def who_enters_first_makes_the_room_and_owns_it(stage):
    room, crone = Room(stage), stage.online("crone/desktop")
    own = room.enters(crone, "firstwitch", status=(201,))
    item = own.find(ITEM)
    assert (item.get("affiliation"), item.get("role")) == ("owner", "moderator")


@play("rooms", "xep0045-10.1")
def a_new_room_is_locked_until_it_is_set_up(stage):
    room, crone, hag = Room(stage), stage.online("crone/desktop"), stage.online("hag/pda")
    room.enters(crone, "firstwitch", status=(201,))
    room.refuses(hag, "thirdwitch", "item-not-found", type="cancel")
    room.configures(crone)
    room.enters(hag, "thirdwitch")


@play("rooms", "xep0045-10.1.3")
def a_reserved_room_is_set_up_by_a_form(stage):
    room, crone, hag = Room(stage), stage.online("crone/desktop"), stage.online("hag/pda")
    room.enters(crone, "firstwitch", status=(201,))
    form = crone.asks(f"<query {OWNER}/>", to=room.jid)
    names = {one.get("var") for one in form.iter("{jabber:x:data}field")}
    wanted = {"roomname", "roomdesc", "persistentroom", "publicroom", "passwordprotectedroom", "roomsecret", "membersonly",
              "moderatedroom", "whois", "changesubject", "allowinvites", "allowpm", "maxusers", "enablelogging"}
    assert {f"muc#roomconfig_{one}" for one in wanted} <= names, wanted - names
    room.configures(crone, roomname="A Dark Cave", passwordprotectedroom="1", roomsecret="cauldronburn")
    room.refuses(hag, "thirdwitch", "not-authorized", type="auth")


@play("rooms", "xep0045-10.1.3")
def a_cancelled_room_does_not_come_to_be(stage):
    room, crone, hag = Room(stage), stage.online("crone/desktop"), stage.online("hag/pda")
    room.enters(crone, "firstwitch", status=(201,))
    crone.sets(f"<query {OWNER}><x xmlns='jabber:x:data' type='cancel'/></query>", to=room.jid)
    crone.receives(f"<presence from='{room.jid}/firstwitch' type='unavailable'/>")
    room.enters(hag, "thirdwitch", status=(201,))


@play("rooms", "xep0045-10.1")
def two_first_joins_give_one_room(stage):
    room, crone, hag = Room(stage), stage.online("crone/desktop"), stage.online("hag/pda")
    room.asks_to_enter(crone, "firstwitch")
    room.asks_to_enter(hag, "thirdwitch")
    crone.settles(), hag.settles()
    made = 0
    for client in (crone, hag):
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline and not any(one.tag.endswith("presence") and one.get("from", "").startswith(room.jid)
                                                      for one in client.queue):
            client._read(time.monotonic() + 0.1)
        made += sum(1 for one in client.queue for code in one.iter(f"{{{MUC}#user}}status") if code.get("code") == "201")
    assert made == 1, made


@play("rooms", "xep0045-10.2")
def only_the_owner_sees_the_form(stage):
    room, crone, hag = coven(stage, "hag")
    hag.asks(f"<query {OWNER}/>", to=room.jid, error="forbidden")
    hag.sets(f"<query {OWNER}><x xmlns='jabber:x:data' type='submit'/></query>", to=room.jid, error="forbidden")
    assert crone


@play("rooms", "xep0045-10.2")
def a_form_that_breaks_a_rule_is_not_acceptable(stage):
    room, crone = coven(stage)
    crone.sets(f"<query {OWNER}><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#roomconfig</value>"
               "</field><field var='muc#roomconfig_whois'><value>nobody</value></field></x></query>", to=room.jid,
               error="not-acceptable")


# --- entering

@play("rooms", "xep0045-7.2")
def others_come_first_then_oneself_then_the_subject(stage):
    room, crone, hag = coven(stage, "hag")
    wench = stage.online("wench/x")
    wench.forgets()
    room.says(crone, "Double, double")
    crone.receives("<message type='groupchat'><body>Double, double</body></message>")
    room.asks_to_enter(wench, "secondwitch")
    wench.receives("<message type='groupchat'><subject/></message>")
    order = [(one.tag.split("}")[1], one.get("from")) for one in wench.queue]
    assert order[-1] == ("message", f"{room.jid}/firstwitch"), order
    assert order[-2] == ("presence", f"{room.jid}/secondwitch"), order
    assert {one[1] for one in order[:-2]} == {f"{room.jid}/firstwitch", f"{room.jid}/hag"}, order
    for client in (crone, hag):
        client.receives(f"<presence from='{room.jid}/secondwitch'><x {USER}><item affiliation='none' role='participant'/></x></presence>")


@play("rooms", "xep0045-7.2.3")
def real_addresses_are_seen_by_moderators_only(stage):
    room, crone, hag = coven(stage, "hag")
    wench = stage.online("wench/x")
    room.enters(wench, "secondwitch")
    seen = crone.receives(f"<presence from='{room.jid}/secondwitch'><x {USER}/></presence>")
    assert seen.find(ITEM).get("jid") == wench.jid
    assert hag.receives(f"<presence from='{room.jid}/secondwitch'><x {USER}/></presence>").find(ITEM).get("jid") is None


@play("rooms", "xep0045-7.2.4")
def in_a_non_anonymous_room_all_see_all_and_are_warned(stage):
    room, crone, hag = coven(stage, "hag", whois="anyone")
    wench = stage.online("wench/x")
    room.enters(wench, "secondwitch", status=(100,))
    assert hag.receives(f"<presence from='{room.jid}/secondwitch'><x {USER}/></presence>").find(ITEM).get("jid") == wench.jid


@play("rooms", "xep0045-7.2.2")
def a_nickname_is_needed(stage):
    room, crone = coven(stage)
    hag = stage.online("hag/pda")
    hag.sends(f"<presence to='{room.jid}'><x xmlns='{MUC}'/></presence>")
    hag.receives(f"<presence from='{room.jid}' type='error'><error type='modify'>"
                 "<jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
    assert crone


@play("rooms", "xep0045-7.2.5")
def a_password_opens_the_door(stage):
    room, crone = coven(stage, passwordprotectedroom="1", roomsecret="cauldronburn")
    hag = stage.online("hag/pda")
    room.refuses(hag, "thirdwitch", "not-authorized")
    room.refuses(hag, "thirdwitch", "not-authorized", "<password>wrong</password>")
    room.enters(hag, "thirdwitch", "<password>cauldronburn</password>")
    assert crone


@play("rooms", "xep0045-7.2.6")
def a_members_only_room_lets_members_in(stage):
    room, crone = coven(stage, membersonly="1")
    hag = stage.online("hag/pda")
    room.refuses(hag, "thirdwitch", "registration-required", type="auth")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    room.enters(hag, "thirdwitch")


@play("rooms", "xep0045-7.2.7", "xep0045-9.1")
def the_banned_stay_out_and_cannot_come_back_as_nobody(stage):
    room, crone = coven(stage, membersonly="1")
    hag = stage.online("hag/pda")
    room.sets(crone, "<item affiliation='outcast' jid='{hag}'><reason>Treason</reason></item>")
    room.refuses(hag, "thirdwitch", "forbidden", type="auth")
    room.sets(crone, "<item affiliation='none' jid='{hag}'/>")
    room.refuses(hag, "thirdwitch", "registration-required")


@play("rooms", "xep0045-7.2.8")
def a_nickname_belongs_to_one_account(stage):
    room, crone, hag = coven(stage, "hag")
    wench = stage.online("wench/x")
    room.refuses(wench, "hag", "conflict", type="cancel")
    second = stage.online("hag/second")
    room.enters(second, "hag")
    room.says(crone, "to both")
    for client in (hag, second):
        client.receives(f"<message from='{room.jid}/firstwitch' type='groupchat'><body>to both</body></message>")
    # One of the two goes: the others keep seeing the nickname.
    crone.settles()
    crone.forgets()
    room.leaves(second, "hag")
    stage.settles(crone, hag)
    crone.receives_no(f"<presence from='{room.jid}/hag' type='unavailable'/>")


@play("rooms", "xep0045-7.2.9")
def a_full_room_lets_the_owner_in_only(stage):
    room, crone, hag = coven(stage, "hag", maxusers="2", persistentroom="1")
    wench = stage.online("wench/x")
    room.refuses(wench, "secondwitch", "service-unavailable")
    room.leaves(crone, "firstwitch")
    room.enters(wench, "secondwitch")
    room.enters(crone, "firstwitch")
    assert hag


@play("rooms", "xep0045-7.2.1")
def presence_of_a_client_that_is_not_there_is_told_so(stage):
    room, crone = coven(stage)
    hag = stage.online("hag/pda")
    hag.sends(f"<presence to='{room.jid}/thirdwitch'/>")
    hag.receives(f"<presence from='{room.jid}/thirdwitch' type='unavailable'><x {USER}><status code='110'/><status code='307'/>"
                 "<status code='333'/></x></presence>")
    assert crone


@play("rooms", "xep0045-7.2")
def entering_again_gives_everything_again(stage):
    room, crone, hag = coven(stage, "hag")
    room.says(crone, "Fire burn")
    hag.receives("<message type='groupchat'><body>Fire burn</body></message>")
    hag.settles(), hag.forgets()
    room.asks_to_enter(hag, "hag")
    hag.receives_in_order(f"<presence from='{room.jid}/firstwitch'/>", f"<presence from='{room.jid}/hag'/>",
                          "<message type='groupchat'><body>Fire burn</body><delay xmlns='urn:xmpp:delay'/></message>",
                          "<message type='groupchat'><subject/></message>")


# --- history

@play("rooms", "xep0045-7.2.14")
def the_past_comes_with_its_time_and_in_the_amount_asked_for(stage):
    room, crone = coven(stage)
    for number in range(5):
        room.says(crone, f"m{number}", f"id{number}")
    crone.receives("<message type='groupchat'><body>m4</body></message>")

    def past(client, inside):
        room.asks_to_enter(client, "thirdwitch", inside)
        client.receives("<message type='groupchat'><subject/></message>")
        got = [one for one in client.queue if one.tag.endswith("}message") and one.get("from", "").startswith(room.jid)]
        client.forgets()
        for one in got:
            delay = one.find("{urn:xmpp:delay}delay")
            assert delay is not None and delay.get("from") == room.jid
        return [one.findtext("{jabber:client}body") for one in got]

    hag = stage.online("hag/pda")
    assert past(hag, "") == ["m0", "m1", "m2", "m3", "m4"]
    assert past(hag, "<history maxstanzas='2'/>") == ["m3", "m4"]
    assert past(hag, "<history maxstanzas='0'/>") == []
    assert past(hag, "<history maxchars='0'/>") == []
    assert past(hag, "<history seconds='600'/>") == ["m0", "m1", "m2", "m3", "m4"]
    assert past(hag, "<history since='2100-01-01T00:00:00Z'/>") == []
    assert past(hag, "<history since='2001-01-01T00:00:00Z' maxstanzas='1'/>") == ["m4"]


# --- messages

@play("rooms", "xep0045-7.4")
def a_message_is_reflected_to_all_with_its_id(stage):
    room, crone, hag = coven(stage, "hag")
    room.says(hag, "Harpier cries", "hysf1v37")
    ids = set()
    for client in (crone, hag):
        got = client.receives(f"<message from='{room.jid}/hag' to='{client.jid}' type='groupchat' id='hysf1v37'>"
                              f"<body>Harpier cries</body><stanza-id xmlns='urn:xmpp:sid:0' by='{room.jid}'/></message>")
        ids.add(got.find("{urn:xmpp:sid:0}stanza-id").get("id"))
    assert len(ids) == 1


@play("rooms", "xep0045-7.4")
def only_occupants_may_speak(stage):
    room, crone = coven(stage)
    hag = stage.online("hag/pda")
    room.says(hag, "let me in", "x")
    hag.receives("<message type='error' id='x'><error><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    stage.settles()
    crone.receives_no("<message type='groupchat'><body/></message>")


@play("rooms", "xep0045-7.4")
def messages_keep_their_order(stage):
    room, crone, hag = coven(stage, "hag")
    for number in range(50):
        room.says(crone, f"n{number}", f"n{number}")
        if number % 10 == 5:
            crone.sends(f"<presence to='{room.jid}/firstwitch'><status>{number}</status></presence>")
    got = []
    while "n49" not in got:
        one = hag._take(lambda e: e.get("from") == f"{room.jid}/firstwitch", "something from the room", 8)
        got.append(one.findtext("{jabber:client}body") or "p" + one.findtext("{jabber:client}status"))
    expected = []
    for number in range(50):
        expected.append(f"n{number}")
        if number % 10 == 5:
            expected.append(f"p{number}")
    assert got == expected, got


@play("rooms", "xep0045-7.4", "xep0421")
def what_only_the_room_may_say_is_taken_out(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<message to='{room.jid}' type='groupchat'><body>lies</body><x {USER}><item jid='{{crone}}'/></x>"
              f"<stanza-id xmlns='urn:xmpp:sid:0' by='{room.jid}' id='forged'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>"
              f"<delay xmlns='urn:xmpp:delay' from='{room.jid}' stamp='2001-01-01T00:00:00Z'/></message>")
    got = crone.receives("<message type='groupchat'><body>lies</body></message>")
    assert "forged" not in [one.get("id") for one in got]
    assert got.find(f"{{{MUC}#user}}x") is None and got.find("{urn:xmpp:delay}delay") is None


@play("rooms", "xep0421")
def an_occupant_id_stays_whatever_the_nickname(stage):
    room, crone, hag = coven(stage, "hag")
    room.says(hag, "one")
    first = crone.receives("<message type='groupchat'><body>one</body></message>").find(OCCUPANT).get("id")
    hag.sends(f"<presence to='{room.jid}/oldhag'/>")
    second = crone.receives(f"<presence from='{room.jid}/oldhag'/>").find(OCCUPANT).get("id")
    room.leaves(hag, "oldhag")
    room.enters(hag, "young")
    third = crone.receives(f"<presence from='{room.jid}/young'/>").find(OCCUPANT).get("id")
    assert first == second == third and len(first) >= 16
    room.says(crone, "mine")
    assert hag.receives("<message type='groupchat'><body>mine</body></message>").find(OCCUPANT).get("id") != first


@play("rooms", "xep0045-7.5")
def a_private_message_reaches_one_occupant(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    hag.sends(f"<message to='{room.jid}/wench' type='chat' id='hgn27af1'><body>I'll give thee a wind.</body></message>")
    wench.receives(f"<message from='{room.jid}/hag' type='chat' id='hgn27af1'><body>I'll give thee a wind.</body><x {USER}/></message>")
    hag.sends(f"<message to='{room.jid}/nobody' type='chat' id='x'><body>hello</body></message>")
    hag.receives("<message type='error' id='x'><error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    stage.settles()
    crone.receives_no("<message type='chat'/>")
    stranger = stage.online("stranger/x")
    stranger.sends(f"<message to='{room.jid}/wench' type='chat' id='y'><body>hello</body></message>")
    stranger.receives("<message type='error' id='y'><error><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")


@play("rooms", "xep0045-7.5")
def private_messages_can_be_turned_off(stage):
    room, crone, hag = coven(stage, "hag", allowpm="moderators")
    hag.sends(f"<message to='{room.jid}/firstwitch' type='chat' id='x'><body>psst</body></message>")
    hag.receives("<message type='error' id='x'><error><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    crone.sends(f"<message to='{room.jid}/hag' type='chat'><body>psst</body></message>")
    hag.receives("<message type='chat'><body>psst</body></message>")


@play("rooms", "xep0045-8.1")
def the_subject_is_the_moderators(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<message to='{room.jid}' type='groupchat' id='s'><subject>mine</subject></message>")
    hag.receives("<message type='error' id='s'><error><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    crone.sends(f"<message to='{room.jid}' type='groupchat'><subject>Fire Burn and Cauldron Bubble!</subject></message>")
    for client in (crone, hag):
        client.receives(f"<message from='{room.jid}/firstwitch' type='groupchat'><subject>Fire Burn and Cauldron Bubble!</subject></message>")
    wench = stage.online("wench/x")
    room.asks_to_enter(wench, "secondwitch")
    wench.receives(f"<message from='{room.jid}/firstwitch' type='groupchat'><subject>Fire Burn and Cauldron Bubble!</subject>"
                   "<delay xmlns='urn:xmpp:delay'/></message>")


@play("rooms", "xep0045-7.3")
def occupants_may_change_the_subject_if_the_room_says_so(stage):
    room, crone, hag = coven(stage, "hag", changesubject="1")
    hag.sends(f"<message to='{room.jid}' type='groupchat'><subject>mine</subject></message>")
    crone.receives(f"<message from='{room.jid}/hag' type='groupchat'><subject>mine</subject></message>")


# --- nicknames and presence

@play("rooms", "xep0045-7.6")
def a_new_nickname_is_told_with_303(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<presence to='{room.jid}/oldhag'/>")
    for client in (crone, hag):
        client.receives_in_order(
            f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><item nick='oldhag' role='participant'/><status code='303'/></x></presence>",
            f"<presence from='{room.jid}/oldhag'><x {USER}><item role='participant'/></x></presence>")
    hag.sends(f"<presence to='{room.jid}/firstwitch'/>")
    hag.receives(f"<presence from='{room.jid}/firstwitch' type='error'><error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
    room.says(hag, "still here")
    crone.receives(f"<message from='{room.jid}/oldhag' type='groupchat'><body>still here</body></message>")


@play("rooms", "xep0045-7.7")
def presence_is_shown_to_all(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<presence to='{room.jid}/hag'><show>xa</show><status>gone where the goblins go</status><x {USER}><item jid='forged@x'/></x></presence>")
    got = crone.receives(f"<presence from='{room.jid}/hag'><show>xa</show><status>gone where the goblins go</status></presence>")
    assert len(got.findall(f"{{{MUC}#user}}x")) == 1 and got.find(ITEM).get("jid") == hag.jid


@play("rooms", "xep0045-7.14")
def leaving_is_shown_to_all(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<presence to='{room.jid}/hag' type='unavailable'><status>gone</status></presence>")
    crone.receives(f"<presence from='{room.jid}/hag' type='unavailable'><status>gone</status><x {USER}><item role='none'/></x></presence>")
    hag.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><status code='110'/></x></presence>")


@play("rooms", "xep0045-7.14")
def whose_session_ends_leaves(stage):
    room, crone, hag = coven(stage, "hag")
    hag.closes()
    crone.receives(f"<presence from='{room.jid}/hag' type='unavailable'/>")
    stage.clients.remove(hag)


@play("rooms", "xep0045-10.1")
def a_temporary_room_ends_with_its_last_occupant(stage):
    room, crone, hag = coven(stage, "hag")
    room.leaves(crone, "firstwitch")
    room.leaves(hag, "hag")
    own = room.enters(hag, "thirdwitch", status=(201,))
    assert own.find(ITEM).get("affiliation") == "owner"


@play("rooms", "xep0045-10.1")
def a_persistent_room_stays(stage):
    room, crone = coven(stage, persistentroom="1", roomname="Kept")
    room.leaves(crone, "firstwitch")
    hag = stage.online("hag/pda")
    own = room.enters(hag, "thirdwitch")
    assert own.find(ITEM).get("affiliation") == "none"
    assert room.enters(crone, "firstwitch").find(ITEM).get("affiliation") == "owner"


@play("rooms", "xep0045-17.4")
def a_client_that_bounces_is_taken_out(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<message to='{room.jid}' type='error' id='x'><error type='wait'>"
              "<recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    crone.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><status code='333'/></x></presence>")


# --- invitations

@play("rooms", "xep0045-7.8.2")
def an_invitation_goes_through_the_room(stage):
    room, crone = coven(stage, passwordprotectedroom="1", roomsecret="cauldronburn")
    hecate = stage.online("hecate/broom")
    crone.sends(f"<message to='{room.jid}'><x {USER}><invite to='{{hecate}}'><reason>Hey Hecate</reason></invite></x></message>")
    hecate.receives(f"<message from='{room.jid}'><x {USER}><invite from='{{crone}}'><reason>Hey Hecate</reason></invite>"
                    "<password>cauldronburn</password></x></message>")
    hecate.sends(f"<message to='{room.jid}'><x {USER}><decline to='{{crone}}'><reason>Sorry</reason></decline></x></message>")
    crone.receives(f"<message from='{room.jid}'><x {USER}><decline from='{{hecate}}'><reason>Sorry</reason></decline></x></message>")


@play("rooms", "xep0045-7.8.2")
def an_invitation_makes_a_member(stage):
    room, crone = coven(stage, membersonly="1")
    hecate = stage.online("hecate/broom")
    crone.sends(f"<message to='{room.jid}'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hecate.receives(f"<message from='{room.jid}'><x {USER}><invite/></x></message>")
    assert room.enters(hecate, "hecate").find(ITEM).get("affiliation") == "member"


@play("rooms", "xep0045-7.8.2")
def who_may_not_invite_is_told_so(stage):
    room, crone, hag = coven(stage, "hag", allowinvites="0")
    stage.online("hecate/broom")
    hag.sends(f"<message to='{room.jid}' id='i'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hag.receives("<message type='error' id='i'><error><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    room.configures(crone, allowinvites="1")
    hag.sends(f"<message to='{room.jid}' id='i'><x {USER}><invite to='nobody-at-all@{{domain}}'/></x></message>")
    hag.receives("<message type='error' id='i'><error><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")


@play("rooms", "xep0249")
def a_direct_invitation_passes_by_the_room(stage):
    crone, hecate = stage.online("crone/desktop"), stage.online("hecate/broom")
    crone.sends("<message to='{hecate}'><x xmlns='jabber:x:conference' jid='darkcave@rooms.{domain}' reason='Hey'/></message>")
    hecate.receives("<message from='{crone/desktop}'><x xmlns='jabber:x:conference' jid='darkcave@rooms.{domain}'/></message>")


# --- moderating

@play("rooms", "xep0045-8.2")
def a_kick_is_told_with_its_reason(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    room.sets(crone, "<item nick='hag' role='none'><reason>Avaunt, you cullion!</reason></item>")
    for client in (hag, wench, crone):
        client.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><item affiliation='none' role='none'>"
                        "<actor nick='firstwitch'/><reason>Avaunt, you cullion!</reason></item><status code='307'/></x></presence>")
    room.enters(hag, "hag")
    room.sets(wench, "<item nick='hag' role='none'/>", error="forbidden")
    room.sets(hag, "<item nick='firstwitch' role='none'/>", error="forbidden")
    room.sets(crone, "<item nick='nobody' role='none'/>", error="item-not-found")


@play("rooms", "xep0045-8.2")
def a_moderator_does_not_kick_an_owner(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item nick='hag' role='moderator'/>")
    room.sets(hag, "<item nick='firstwitch' role='none'/>", error="not-allowed")


@play("rooms", "xep0045-5.1.3", "xep0045-8.4")
def a_moderator_takes_no_voice_and_no_role_from_an_owner(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item nick='hag' role='moderator'/>")
    for role in ("visitor", "participant"):
        room.sets(hag, f"<item nick='firstwitch' role='{role}'/>", error="not-allowed")


@play("rooms", "xep0045-9.8")
def a_list_of_moderators_may_name_who_is_one_already(stage):
    room, crone, hecate, hag = coven(stage, "hecate", "hag")
    room.sets(crone, "<item jid='{hecate}' affiliation='admin'/>")
    room.sets(hecate, "<item nick='hag' role='moderator'/><item nick='firstwitch' role='moderator'/>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='moderator'/><status code='110'/></x></presence>")


@play("rooms", "xep0045-8.3", "xep0045-8.4")
def in_a_moderated_room_voice_is_given_and_taken(stage):
    room, crone, hag = coven(stage, "hag", moderatedroom="1")
    room.says(hag, "hm", "x")
    hag.receives("<message type='error' id='x'><error><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
    room.sets(crone, "<item nick='hag' role='participant'><reason>A worthy witch indeed!</reason></item>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='participant'/><status code='110'/></x></presence>")
    room.says(hag, "thanks")
    crone.receives("<message type='groupchat'><body>thanks</body></message>")
    assert [one.get("nick") for one in room.lists(crone, "<item role='participant'/>")] == ["hag"]
    room.sets(crone, "<item nick='hag' role='visitor'/>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='visitor'/></x></presence>")


@play("rooms", "xep0045-7.13", "xep0045-8.6")
def a_visitor_asks_for_voice(stage):
    room, crone, hag = coven(stage, "hag", moderatedroom="1")
    field = lambda name, value: f"<field var='{name}'><value>{value}</value></field>"
    form = lambda inside: (f"<message to='{room.jid}'><x xmlns='jabber:x:data' type='submit'>{field('FORM_TYPE', MUC + '#request')}"
                           f"{inside}</x></message>")
    hag.sends(form(field("muc#role", "participant")))
    crone.receives(f"<message from='{room.jid}'><x xmlns='jabber:x:data' type='form'/></message>")
    crone.sends(form(field("muc#role", "participant") + field("muc#roomnick", "hag") + field("muc#request_allow", "true")))
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='participant'/></x></presence>")


# --- affiliations

@play("rooms", "xep0045-9.1")
def a_ban_puts_out_and_keeps_out(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    room.sets(crone, "<item affiliation='outcast' jid='{hag}'><reason>Treason</reason></item>")
    for client in (hag, wench):
        client.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><item affiliation='outcast' role='none'>"
                        "<reason>Treason</reason></item><status code='301'/></x></presence>")
    room.refuses(hag, "hag", "forbidden")
    outcasts = room.lists(crone, "<item affiliation='outcast'/>")
    assert [one.get("jid") for one in outcasts] == [stage.script("{hag}")]
    room.lists(wench, "<item affiliation='outcast'/>", error="forbidden")
    room.sets(wench, "<item affiliation='outcast' jid='{crone}'/>", error="forbidden")
    room.sets(crone, "<item affiliation='outcast' jid='{crone}'/>", error="conflict")
    room.sets(crone, "<item affiliation='none' jid='{hag}'/>")
    room.enters(hag, "hag")


@play("rooms", "xep0045-9.4")
def who_loses_membership_leaves_a_members_only_room(stage):
    room, crone = coven(stage, membersonly="1")
    hag = stage.online("hag/pda")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    room.enters(hag, "hag")
    assert [one.get("jid") for one in room.lists(crone, "<item affiliation='member'/>")] == [stage.script("{hag}")]
    room.sets(crone, "<item affiliation='none' jid='{hag}'/>")
    hag.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><item affiliation='none' role='none'/>"
                 "<status code='321'/></x></presence>")


@play("rooms", "xep0045-10.2.1")
def a_room_that_becomes_members_only_puts_others_out(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    room.sets(crone, "<item affiliation='member' jid='{wench}'/>")
    room.configures(crone, membersonly="1")
    hag.receives(f"<presence from='{room.jid}/hag' type='unavailable'><x {USER}><status code='322'/></x></presence>")
    wench.receives(f"<message from='{room.jid}' type='groupchat'><x {USER}><status code='104'/></x></message>")
    room.says(wench, "only we")
    crone.receives("<message type='groupchat'><body>only we</body></message>")


@play("rooms", "xep0045-10.2.1")
def changes_of_privacy_and_logging_have_their_own_codes(stage):
    room, crone, hag = coven(stage, "hag")
    for field, value, code in (("whois", "anyone", 172), ("whois", "moderators", 173), ("enablelogging", "0", 171),
                               ("enablelogging", "1", 170), ("roomname", "New", 104)):
        room.configures(crone, **{field: value})
        hag.receives(f"<message from='{room.jid}' type='groupchat'><x {USER}><status code='{code}'/></x></message>")


@play("rooms", "xep0045-10.5", "xep0045-10.3")
def owners_make_owners_and_one_is_left(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item affiliation='none' jid='{crone}'/>", error="conflict")
    room.sets(hag, "<item affiliation='owner' jid='{hag}'/>", error="forbidden")
    room.sets(crone, "<item affiliation='owner' jid='{hag}'/>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item affiliation='owner' role='moderator'/></x></presence>")
    room.sets(hag, "<item affiliation='admin' jid='{crone}'/>")
    crone.receives(f"<presence from='{room.jid}/firstwitch'><x {USER}><item affiliation='admin' role='moderator'/></x></presence>")
    room.sets(crone, "<item affiliation='outcast' jid='{hag}'/>", error="not-allowed")
    owners = room.lists(hag, "<item affiliation='owner'/>")
    assert [one.get("jid") for one in owners] == [stage.script("{hag}")]


@play("rooms", "xep0045-9.5")
def members_of_an_open_hearted_room_know_each_other(stage):
    room, crone, hag = coven(stage, "hag", whois="anyone")
    room.lists(hag, "<item affiliation='member'/>", error="forbidden")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    assert [one.get("jid") for one in room.lists(hag, "<item affiliation='member'/>")] == [stage.script("{hag}")]


# --- the end of a room

@play("rooms", "xep0045-10.9")
def a_destroyed_room_says_where_to_go(stage):
    room, crone, hag = coven(stage, "hag", persistentroom="1")
    hag.sets(f"<query {OWNER}><destroy/></query>", to=room.jid, error="forbidden")
    crone.sends(f"<iq type='set' id='end' to='{room.jid}'><query {OWNER}><destroy jid='heath@rooms.{{domain}}'>"
                "<reason>Macbeth doth come.</reason></destroy></query></iq>").settles()
    told = [e.tag.split("}")[1] for e in crone.queue if e.get("type") in ("unavailable", "result")]
    assert told == ["presence", "iq"], told
    crone.receives("<iq type='result' id='end'/>")
    for client, nick in ((hag, "hag"), (crone, "firstwitch")):
        client.receives(f"<presence from='{room.jid}/{nick}' type='unavailable'><x {USER}><item affiliation='none' role='none'/>"
                        "<destroy jid='heath@rooms.{domain}'><reason>Macbeth doth come.</reason></destroy></x></presence>")
    hag.asks(f"<query {INFO}/>", to=room.jid, error="item-not-found")
    room.enters(hag, "hag", status=(201,))


@play("rooms", "admin")
def the_administrator_destroys_a_room(stage):
    room, crone = coven(stage, persistentroom="1")
    assert room.jid in stage.server.control("room", "list")
    stage.server.control("room", "destroy", room.jid)
    crone.receives(f"<presence from='{room.jid}/firstwitch' type='unavailable'><x {USER}><destroy/></x></presence>")
    assert room.jid not in stage.server.control("room", "list")


# --- requests between occupants

@play("rooms", "xep0410")
def a_self_ping_tells_whether_one_is_there(stage):
    room, crone, hag = coven(stage, "hag")
    hag.asks("<ping xmlns='urn:xmpp:ping'/>", to=f"{room.jid}/hag")
    stranger = stage.online("stranger/x")
    stranger.asks("<ping xmlns='urn:xmpp:ping'/>", to=f"{room.jid}/hag", error="not-acceptable")
    room.leaves(hag, "hag")
    hag.asks("<ping xmlns='urn:xmpp:ping'/>", to=f"{room.jid}/hag", error="not-acceptable")
    assert crone


@play("rooms", "xep0045-17.4")
def a_request_to_an_occupant_goes_through_the_room(stage):
    room, crone, hag = coven(stage, "hag")
    crone.sends(f"<iq type='get' id='v1' to='{room.jid}/hag'><query xmlns='jabber:iq:version'/></iq>")
    asked = hag.receives(f"<iq type='get' from='{room.jid}/firstwitch' to='{hag.jid}'><query xmlns='jabber:iq:version'/></iq>")
    hag.sends(f"<iq type='result' id='{asked.get('id')}' to='{room.jid}/firstwitch'><query xmlns='jabber:iq:version'><name>broom</name></query></iq>")
    crone.receives(f"<iq type='result' id='v1' from='{room.jid}/hag'><query xmlns='jabber:iq:version'><name>broom</name></query></iq>")
    stranger = stage.online("stranger/x")
    stranger.asks("<query xmlns='jabber:iq:version'/>", to=f"{room.jid}/hag", error="not-acceptable")
    crone.asks("<query xmlns='jabber:iq:version'/>", to=f"{room.jid}/nobody", error="item-not-found")


@play("rooms", "xep0045-17.4", "xep0054")
def a_vcard_of_an_occupant_is_that_of_the_account(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sets("<vCard xmlns='vcard-temp'><FN>Old Hag</FN></vCard>")
    reply = crone.asks("<vCard xmlns='vcard-temp'/>", to=f"{room.jid}/hag")
    assert reply.get("from") == f"{room.jid}/hag" and "Old Hag" in [one.text for one in reply.iter("{vcard-temp}FN")]


# --- archives

@play("rooms", "archive", "xep0313")
def the_archive_of_a_room_comes_in_pages(stage):
    room, crone = coven(stage, persistentroom="1")
    for number in range(7):
        room.says(crone, f"m{number}", f"id{number}")
    sent = [crone.receives(f"<message type='groupchat'><body>m{number}</body></message>").find("{urn:xmpp:sid:0}stanza-id").get("id")
            for number in range(7)]
    hag = stage.online("hag/pda")
    bodies, ids, after = [], [], "<after/>"
    for _ in range(5):
        reply = hag.sets("<query xmlns='urn:xmpp:mam:2' queryid='q'><set xmlns='http://jabber.org/protocol/rsm'>"
                         f"<max>3</max>{after}</set></query>".replace("<after/>", ""), to=room.jid)
        results = [one for one in hag.queue if one.find("{urn:xmpp:mam:2}result") is not None]
        for one in results:
            assert one.get("from") == room.jid
            hag.queue.remove(one)
            result = one.find("{urn:xmpp:mam:2}result")
            message = result.find("{urn:xmpp:forward:0}forwarded/{jabber:client}message")
            assert message.get("from") == f"{room.jid}/firstwitch" and message.get("type") == "groupchat"
            bodies.append(message.findtext("{jabber:client}body"))
            ids.append(result.get("id"))
        fin = reply.find("{urn:xmpp:mam:2}fin")
        if fin.get("complete") == "true":
            break
        after = f"<after>{fin.findtext('.//{http://jabber.org/protocol/rsm}last')}</after>"
    assert bodies == [f"m{number}" for number in range(7)] and ids == sent


@play("rooms", "archive", "xep0313")
def the_archive_is_for_those_who_may_enter(stage):
    room, crone = coven(stage, membersonly="1")
    hag = stage.online("hag/pda")
    hag.sets("<query xmlns='urn:xmpp:mam:2'/>", to=room.jid, error="forbidden")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    hag.sets("<query xmlns='urn:xmpp:mam:2'/>", to=room.jid)
    room.sets(crone, "<item affiliation='outcast' jid='{hag}'/>")
    hag.sets("<query xmlns='urn:xmpp:mam:2'/>", to=room.jid, error="forbidden")


# --- whose presence is broadcast

@play("rooms", "xep0045-7.2.3", "presencebroadcast")
def presence_of_some_roles_only_is_broadcast(stage):
    room, crone = coven(stage, moderatedroom="1", presencebroadcast="moderator")
    hag, wench = stage.online("hag/x"), stage.online("wench/x")
    room.enters(hag, "hag")
    room.enters(wench, "wench")
    hag.receives(f"<presence from='{room.jid}/firstwitch'/>")
    hag.sends(f"<presence to='{room.jid}/hag'><show>away</show></presence>")
    hag.receives(f"<presence from='{room.jid}/hag'><show>away</show><x {USER}><status code='110'/></x></presence>")
    stage.settles(crone, hag, wench)
    for client in (crone, wench):
        client.receives_no(f"<presence from='{room.jid}/hag'/>")
    items = crone.asks(f"<query {ITEMS}/>", to=room.jid)
    assert [one.get("name") for one in items[0]] == ["firstwitch"]
    # Who becomes a moderator is seen, and is lost sight of again.
    room.sets(crone, "<item nick='hag' role='moderator'/>")
    for client in (crone, wench):
        client.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='moderator'/></x></presence>")
    room.sets(crone, "<item nick='hag' role='participant'/>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='participant'/><status code='110'/></x></presence>")
    for client in (crone, wench):
        client.receives(f"<presence from='{room.jid}/hag' type='unavailable'/>")
    # What is hidden goes unseen, too.
    room.leaves(wench, "wench")
    stage.settles(crone, hag)
    crone.receives_no(f"<presence from='{room.jid}/wench' type='unavailable'/>")


@play("rooms", "xep0045-10.2", "presencebroadcast")
def a_room_that_shows_others_shows_them_at_once(stage):
    room, crone, hag = coven(stage, "hag")
    room.configures(crone, presencebroadcast="moderator")
    crone.receives(f"<presence from='{room.jid}/hag' type='unavailable'/>")
    hag.receives(f"<message from='{room.jid}' type='groupchat'><x {USER}><status code='104'/></x></message>")
    form = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field><field var='muc#roomconfig_presencebroadcast'>"
    form += "".join(f"<value>{role}</value>" for role in ("moderator", "participant"))
    crone.sets(f"<query {OWNER}><x xmlns='jabber:x:data' type='submit'>{form}</field></x></query>", to=room.jid)
    crone.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='participant'/></x></presence>")


# --- registered nicknames

@play("rooms", "xep0045-7.10", "xep0045-7.12")
def a_registered_nickname_is_kept(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    form = hag.asks(f"<query {REGISTER}/>", to=room.jid)
    assert {f.get("var") for f in form.iter("{jabber:x:data}field")} == {"FORM_TYPE", "muc#register_roomnick"}
    reserved = lambda client: [one.get("name") for one in client.asks(f"<query {INFO} node='x-roomuser-item'/>", to=room.jid)[0]]
    assert reserved(hag) == []
    registers(room, hag, "thirdwitch")
    # Who registers is a member, and all see that.
    for client in (crone, hag, wench):
        client.receives(f"<presence from='{room.jid}/hag'><x {USER}><item affiliation='member'/></x></presence>")
    assert reserved(hag) == ["thirdwitch"]
    reply = hag.asks(f"<query {REGISTER}/>", to=room.jid)[0]
    assert reply.find("{jabber:iq:register}registered") is not None and reply.findtext("{jabber:iq:register}username") == "thirdwitch"
    # Nobody else gets it: by registering, by changing, by entering.
    registers(room, wench, "thirdwitch", error="conflict")
    registers(room, wench, "firstwitch", error="conflict")
    conflict = f"<presence from='{room.jid}/thirdwitch' type='error'><error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    wench.sends(f"<presence to='{room.jid}/thirdwitch'/>")
    wench.receives(conflict)
    room.refuses(stage.online("fool/x"), "thirdwitch", "conflict")
    room.sets(crone, "<item affiliation='member' jid='{wench}' nick='thirdwitch'/>", error="conflict")
    room.leaves(hag, "hag")
    room.enters(hag, "thirdwitch")
    # Until it is given up, and membership with it.
    hag.sets(f"<query {REGISTER}><remove/></query>", to=room.jid)
    hag.receives(f"<presence from='{room.jid}/thirdwitch'><x {USER}><item affiliation='none'/><status code='110'/></x></presence>")
    assert reserved(hag) == []


@play("rooms", "xep0045-7.10")
def registering_is_no_way_around_the_door(stage):
    for fields in ({"membersonly": "1"}, {"moderatedroom": "1"}):
        room, crone = coven(stage, **fields)
        fool = stage.online(f"fool/{next(iter(fields))}")
        fool.asks(f"<query {REGISTER}/>", to=room.jid, error="not-allowed")
        registers(room, fool, "fool", error="not-allowed")
        room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
        registers(room, stage.online(f"hag/{next(iter(fields))}"), "hag")
    stage.online("fool/z").asks(f"<query {REGISTER}/>", to=f"nowhere@rooms.{stage.domain}", error="item-not-found")
    room, crone = coven(stage)
    crone.sets(f"<query {REGISTER}/>", to=room.jid, error="bad-request")
    room.sets(crone, "<item affiliation='outcast' jid='{fool}'/>")
    registers(room, stage.online("fool/y"), "fool", error="not-allowed")


@play("rooms", "xep0045-7.2", "210")
def a_nickname_that_was_prepared_is_told_with_210(stage):
    room = Room(stage)
    crone = stage.online("crone/x")
    room.opens(crone, "crone")
    hag = stage.online("hag/x")
    hag.sends(f"<presence to='{room.jid}/h\uff41g'><x xmlns='{MUC}'/></presence>")
    own = hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><status code='110'/><status code='210'/></x></presence>")
    assert own.get("type") is None


# --- the room outlives the node

@play("rooms", "restart", "xep0045-11.2")
def who_cannot_resume_is_told_that_the_service_stops(stage):
    room, crone, hag = coven(stage, "hag")
    nurse = stage.login("nurse/x")
    nurse.manages_stream()
    stage.available(nurse)
    room.enters(nurse, "nurse")
    stage.settles()
    stage.server.stop()
    for client, nick in ((crone, "firstwitch"), (hag, "hag")):
        client.receives(f"<presence from='{room.jid}/{nick}' type='unavailable'><x {USER}><item affiliation='none' role='none'/>"
                        "<status code='110'/><status code='332'/></x></presence>")
    nurse.is_ended()
    nurse.receives_no(f"<presence from='{room.jid}/nurse' type='unavailable'/>")
    stage.server.start()


@play("rooms", "restart", "xep0198")
def who_resumes_after_a_crash_sees_who_is_there(stage):
    room, crone = Room(stage), stage.login("crone/desktop")
    token = crone.manages_stream().get("id")
    stage.available(crone)
    room.opens(crone)
    hag, ghost = stage.online("hag/x"), stage.online("ghost/x")
    for client, nick in ((hag, "hag"), (ghost, "ghost")):
        room.enters(client, nick)
        crone.receives(f"<presence from='{room.jid}/{nick}'/>")
    crone.settles()
    stage.server.kill()
    stage.server.start()
    client = stage.authenticated("crone")
    client.sends_raw(f"<resume xmlns='urn:xmpp:sm:3' previd='{token}' h='{crone.handled}'/>")
    client.receives("<resumed xmlns='urn:xmpp:sm:3'/>")
    client.counts, client.handled, client.jid = True, crone.handled, crone.jid
    # The others' sessions are gone, and that was told to nobody: the state of the room is.
    client.receives_all_of(f"<presence from='{room.jid}/hag' type='unavailable'/>", f"<presence from='{room.jid}/ghost' type='unavailable'/>",
                           f"<presence from='{room.jid}/firstwitch'><x {USER}><status code='110'/></x></presence>")


@play("rooms", "restart", "xep0198")
def a_room_survives_a_crash_with_its_occupants(stage):
    room, crone = Room(stage), stage.login("crone/desktop")
    clients = {}
    for actor, nick in (("crone", "firstwitch"), ("hag", "hag")):
        client = crone if actor == "crone" else stage.login("hag/pda")
        token = client.manages_stream().get("id")
        stage.available(client)
        clients[actor] = (client, token, nick)
    hag = clients["hag"][0]
    room.opens(crone)
    room.enters(hag, "hag")
    crone.sends(f"<message to='{room.jid}' type='groupchat'><subject>Fire burn</subject></message>")
    hag.receives("<message type='groupchat'><subject>Fire burn</subject></message>")
    ghost = stage.online("ghost/x")
    room.enters(ghost, "ghost")
    crone.receives(f"<presence from='{room.jid}/ghost'/>")
    for client in (crone, hag):
        client.settles()
        client.acknowledges()
        client.acknowledged()
    stage.server.kill()
    stage.server.start()
    fresh = {}
    for actor, (old, token, nick) in clients.items():
        client = stage.authenticated(actor)
        client.sends_raw(f"<resume xmlns='urn:xmpp:sm:3' previd='{token}' h='{old.handled}'/>")
        client.receives("<resumed xmlns='urn:xmpp:sm:3'/>")
        client.counts, client.handled, client.jid = True, old.handled, old.jid
        fresh[actor] = client
    crone, hag = fresh["crone"], fresh["hag"]
    room.says(crone, "Nobody died")
    for client in (crone, hag):
        client.receives(f"<message from='{room.jid}/firstwitch' type='groupchat'><body>Nobody died</body></message>")
    wench = stage.online("wench/x")
    room.asks_to_enter(wench, "secondwitch")
    wench.receives_all_of(f"<presence from='{room.jid}/firstwitch'/>", f"<presence from='{room.jid}/hag'/>",
                          "<message type='groupchat'><subject>Fire burn</subject></message>")
    # Whose session could not be resumed is not in the room any more.
    wench.receives_no(f"<presence from='{room.jid}/ghost'/>")
