"""Rooms: what XEP-0045 and its neighbours demand besides what rooms.py plays."""
from support.coven import INFO, ITEM, ITEMS, MUC, OCCUPANT, USER, Room, coven, registers
from support.plays import play

STANZAS = "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'"
RSM = "xmlns='http://jabber.org/protocol/rsm'"


def archived(room, client):
    """The messages that the archive of the room gives."""
    client.settles(), client.forgets()
    client.sets("<query xmlns='urn:xmpp:mam:2'/>", to=room.jid)
    path = "{urn:xmpp:mam:2}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message"
    return [one.find(path) for one in client.queue if one.find(path) is not None]


@play("rooms", "xep0045-17.3", "xep0045-7.2.2")
def who_enters_again_keeps_his_role(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item nick='hag' role='moderator'/>")
    hag.receives(f"<presence from='{room.jid}/hag'><x {USER}><item role='moderator'/></x></presence>")
    assert room.enters(hag, "hag").find(ITEM).get("role") == "moderator"
    room, crone, hag = coven(stage, "wench", moderatedroom="1")
    room.sets(crone, "<item nick='wench' role='participant'/>")
    hag.receives(f"<presence from='{room.jid}/wench'><x {USER}><item role='participant'/></x></presence>")
    assert room.enters(hag, "wench").find(ITEM).get("role") == "participant"


@play("rooms", "xep0045-17.1")
def a_nickname_of_spaces_is_none(stage):
    room, crone, hag = coven(stage, "hag")
    wench = stage.online("wench/x")
    for nick in (" ", "   ", "\u3000", "\u00a0"):
        room.asks_to_enter(wench, nick)
        wench.receives(f"<presence type='error'><error type='modify'><jid-malformed {STANZAS}/></error></presence>")
        hag.sends(f"<presence to='{room.jid}/{nick}'/>")
        hag.receives(f"<presence type='error'><error type='modify'><jid-malformed {STANZAS}/></error></presence>")
    registers(room, hag, " ", error="not-acceptable")
    # Nor does it make a room.
    other = Room(stage)
    other.asks_to_enter(wench, " ")
    wench.receives(f"<presence type='error'><error><jid-malformed {STANZAS}/></error></presence>")
    wench.asks(f"<query {INFO}/>", to=other.jid, error="item-not-found")
    assert crone


@play("rooms", "xep0045-10.4", "xep0045-10.7")
def an_admin_who_takes_ownership_or_adminship_is_forbidden(stage):
    room, crone, hecate, hag = coven(stage, "hecate", "hag")
    for one in ("hecate", "hag"):
        room.sets(crone, f"<item affiliation='admin' jid='{{{one}}}'/>")
    for left in ("admin", "member", "none"):
        room.sets(hecate, f"<item affiliation='{left}' jid='{{crone}}'/>", error="forbidden")
    for left in ("member", "none"):
        room.sets(hecate, f"<item affiliation='{left}' jid='{{hag}}'/>", error="forbidden")
    room.sets(hecate, "<item affiliation='outcast' jid='{crone}'/>", error="not-allowed")


@play("rooms", "xep0045-10.5", "xep0045-10.8")
def lists_of_owners_and_admins_are_the_owners_in_a_semi_anonymous_room(stage):
    room, crone, hecate = coven(stage, "hecate")
    room.sets(crone, "<item affiliation='admin' jid='{hecate}'/>")
    for which in ("owner", "admin"):
        room.lists(hecate, f"<item affiliation='{which}'/>", error="forbidden")
        assert len(room.lists(crone, f"<item affiliation='{which}'/>")) == 1
    room.lists(hecate, "<item affiliation='member'/>")
    room.lists(hecate, "<item affiliation='outcast'/>")
    room.configures(crone, whois="anyone")
    assert len(room.lists(hecate, "<item affiliation='owner'/>")) == 1


@play("rooms", "xep0045-9.1", "xep0045-9.2")
def a_ban_ends_the_reservation_of_a_nickname(stage):
    room, crone, hag = coven(stage, "hag")
    registers(room, hag, "thirdwitch")
    room.sets(crone, "<item affiliation='outcast' jid='{hag}'/>")
    outcast = room.lists(crone, "<item affiliation='outcast'/>")[0]
    assert outcast.get("nick") is None and outcast.get("role") is None
    assert room.reserved(hag) == []
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    assert room.reserved(hag) == []


@play("rooms", "xep0045-9.5")
def an_empty_nickname_gives_the_reservation_up(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item affiliation='member' jid='{hag}' nick='thirdwitch'/>")
    assert room.reserved(hag) == ["thirdwitch"]
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    assert room.reserved(hag) == ["thirdwitch"]
    room.sets(crone, "<item affiliation='member' jid='{hag}' nick=''/>")
    assert room.reserved(hag) == []


@play("rooms", "xep0045-17.4")
def a_list_of_affiliations_names_no_roles(stage):
    room, crone, hag = coven(stage, "hag")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    for which in ("owner", "member"):
        item = room.lists(crone, f"<item affiliation='{which}'/>")[0]
        assert item.get("role") is None and item.get("nick") and item.get("jid")


@play("rooms", "xep0045-5.1.3")
def a_moderator_is_not_kicked_by_another(stage):
    room, crone, hag, wench = coven(stage, "hag", "wench")
    for nick in ("hag", "wench"):
        room.sets(crone, f"<item nick='{nick}' role='moderator'/>")
    room.sets(hag, "<item nick='wench' role='none'/>", error="not-allowed")
    room.sets(crone, "<item nick='wench' role='none'/>")


@play("rooms", "xep0045-5.1.1", "xep0045-7.8.2")
def in_an_open_room_everybody_may_invite(stage):
    room, crone, hag = coven(stage, "hag")
    hecate = stage.online("hecate/broom")
    hag.sends(f"<message to='{room.jid}'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hecate.receives(f"<message from='{room.jid}'><x {USER}><invite from='{{hag}}'/></x></message>")
    assert room.lists(crone, "<item affiliation='member'/>") == []
    # Unless its owner says otherwise.
    room.configures(crone, allowinvites="0")
    hag.sends(f"<message to='{room.jid}' id='i'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hag.receives(f"<message type='error' id='i'><error type='auth'><forbidden {STANZAS}/></error></message>")


@play("rooms", "xep0045-7.8.2", "xep0045-9.5")
def into_a_members_only_room_invites_who_edits_its_list(stage):
    room, crone = coven(stage, membersonly="1")
    hag, hecate = stage.online("hag/x"), stage.online("hecate/broom")
    room.sets(crone, "<item affiliation='member' jid='{hag}'/>")
    room.enters(hag, "hag")
    room.sets(crone, "<item nick='hag' role='moderator'/>")
    hag.sends(f"<message to='{room.jid}' id='i'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hag.receives(f"<message type='error' id='i'><error type='auth'><forbidden {STANZAS}/></error></message>")
    room.configures(crone, allowinvites="1")
    hag.sends(f"<message to='{room.jid}' id='j'><x {USER}><invite to='{{hecate}}'/></x></message>")
    hecate.receives(f"<message from='{room.jid}'><x {USER}><invite/></x></message>")


@play("rooms", "xep0045-9.5")
def who_becomes_a_member_of_a_members_only_room_is_invited(stage):
    room, crone = coven(stage, membersonly="1", passwordprotectedroom="1", roomsecret="cauldronburn")
    hecate = stage.online("hecate/broom")
    room.sets(crone, "<item affiliation='member' jid='{hecate}'><reason>Welcome</reason></item>")
    hecate.receives(f"<message from='{room.jid}'><x {USER}><invite from='{{crone}}'><reason>Welcome</reason></invite>"
                    "<password>cauldronburn</password></x></message>")
    hecate.settles(), hecate.forgets()
    room.sets(crone, "<item affiliation='member' jid='{hecate}'/>")  # he is one already
    stage.settles(crone, hecate)
    hecate.receives_no(f"<message from='{room.jid}'><x {USER}><invite/></x></message>")


@play("rooms", "xep0045-7.2.9")
def a_full_room_says_wait(stage):
    room, crone = coven(stage, maxusers="1")
    hag = stage.online("hag/x")
    room.refuses(hag, "hag", "service-unavailable", type="wait")
    assert crone


@play("rooms", "xep0045-7.6", "210")
def a_new_nickname_that_was_prepared_is_told_with_210(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<presence to='{room.jid}/oldh\uff41g'/>")
    hag.receives(f"<presence from='{room.jid}/oldhag'><x {USER}><status code='110'/><status code='210'/></x></presence>")
    assert crone


@play("rooms", "xep0313-6.1.2", "archive")
def a_change_of_subject_is_archived(stage):
    room, crone, hag = coven(stage, "hag")
    crone.sends(f"<message to='{room.jid}' type='groupchat' id='s'><subject>Fire Burn</subject></message>")
    got = hag.receives("<message type='groupchat'><subject>Fire Burn</subject></message>")
    room.says(crone, "behind it")
    hag.receives("<message type='groupchat'><body>behind it</body></message>")
    kept = archived(room, hag)
    assert [one.findtext("{jabber:client}subject") for one in kept] == ["Fire Burn", None]
    assert got.find("{urn:xmpp:sid:0}stanza-id").get("id") == kept[0].find("{urn:xmpp:sid:0}stanza-id").get("id")
    # The subject is no part of the history (XEP-0045 §7.2.14).
    wench = stage.online("wench/x")
    room.asks_to_enter(wench, "wench")
    wench.receives_in_order("<message type='groupchat'><body>behind it</body></message>",
                            "<message type='groupchat'><subject>Fire Burn</subject></message>")


@play("rooms", "xep0313-6.1.2", "archive")
def the_archive_names_real_addresses_to_who_may_see_them(stage):
    room, crone, hag = coven(stage, "hag", whois="anyone", persistentroom="1")
    room.says(hag, "one")
    crone.receives("<message type='groupchat'><body>one</body></message>", without=[f"<x {USER}/>"])
    address = lambda client: [None if one.find(ITEM) is None else one.find(ITEM).get("jid") for one in archived(room, client)]
    assert address(crone) == address(hag) == [hag.jid]
    room.configures(crone, whois="moderators")
    assert address(crone) == [hag.jid] and address(hag) == [None]
    assert address(stage.online("stranger/x")) == [None]
    # What is shown on entering is what was said, also when it was read from the archive.
    wench = stage.online("wench/x")
    for there in ((wench, "wench"), (hag, "hag"), (crone, "firstwitch")), ((wench, "wench"),):
        room.asks_to_enter(wench, "wench")
        past = wench.receives("<message type='groupchat'><body>one</body></message>")
        assert past.find(f"{{{MUC}#user}}x") is None
        for client, nick in there:
            room.leaves(client, nick)
        stage.settles()


@play("rooms", "xep0045-7.2.14")
def the_past_has_no_more_characters_than_asked_for(stage):
    room, crone = coven(stage)
    for number in range(3):
        room.says(crone, "x" * 100, f"id{number}")
    crone.receives("<message id='id2' type='groupchat'/>")
    hag = stage.online("hag/x")
    for limit in range(350, 650, 50):
        at = len(hag.transcript)
        room.asks_to_enter(hag, "hag", f"<history maxchars='{limit}'/>")
        hag.receives("<message type='groupchat'><subject/></message>")
        size = sum(len(line.split(" < ", 1)[1]) for line in hag.transcript[at:] if "urn:xmpp:delay" in line)
        assert size <= limit, (size, limit)
        hag.forgets()


@play("rooms", "xep0359", "xep0045-7.4")
def an_id_in_the_rooms_name_is_taken_out_however_it_is_written(stage):
    room, crone, hag = coven(stage, "hag")
    hag.sends(f"<message to='{room.jid}' type='groupchat'><body>lies</body>"
              f"<stanza-id xmlns='urn:xmpp:sid:0' by='{room.jid.upper()}' id='forged'/>"
              "<stanza-id xmlns='urn:xmpp:sid:0' by='elsewhere.test' id='kept'/></message>")
    got = crone.receives("<message type='groupchat'><body>lies</body></message>")
    ids = [one.get("id") for one in got.findall("{urn:xmpp:sid:0}stanza-id")]
    assert "forged" not in ids and "kept" in ids and len(ids) == 2


@play("rooms", "xep0045-6.2", "xep0421", "xep0045-7.4")
def the_service_names_what_all_its_rooms_have(stage):
    reply = stage.online("crone/x").asks(f"<query {INFO}/>", to="rooms.{domain}")
    features = {one.get("var") for one in reply[0]}
    assert {f"{MUC}#stable_id", "urn:xmpp:occupant-id:0"} <= features, features


@play("rooms", "xep0045-18.1.1")
def the_allowable_traffic_is_not_told(stage):
    room, crone = coven(stage)
    crone.asks(f"<query {INFO} node='{MUC}#traffic'/>", to=room.jid, error="feature-not-implemented")


@play("rooms", "xep0059-2.6", "disco")
def a_page_of_rooms_by_its_index(stage):
    crone = stage.online("crone/desktop")
    for letter in "abc":
        Room(stage, f"index-{letter}-").opens(crone)
    whole = [one.get("jid") for one in crone.asks(f"<query {ITEMS}/>", to="rooms.{domain}")[0]]
    reply = crone.asks(f"<query {ITEMS}><set {RSM}><max>1</max><index>2</index></set></query>", to="rooms.{domain}")
    assert [one.get("jid") for one in reply[0] if one.tag.endswith("}item")] == whole[2:3]
    assert reply.find(".//{http://jabber.org/protocol/rsm}first").get("index") == "2"


@play("rooms", "xep0045-17.2")
def nobody_speaks_in_a_room_that_is_not_set_up(stage):
    room, crone, hag = Room(stage), stage.online("crone/desktop"), stage.online("hag/pda")
    room.enters(crone, "firstwitch", status=(201,))
    room.says(hag, "hello", "x")
    hag.receives(f"<message type='error' id='x'><error><item-not-found {STANZAS}/></error></message>")


@play("rooms", "xep0410-3.3")
def a_self_ping_into_a_room_that_is_no_more_is_not_acceptable(stage):
    room, crone = coven(stage)
    room.leaves(crone, "firstwitch")
    crone.asks("<ping xmlns='urn:xmpp:ping'/>", to=f"{room.jid}/firstwitch", error="not-acceptable")


@play("rooms", "xep0421-4")
def also_who_is_shown_the_door_gets_his_occupant_id(stage):
    room, crone = coven(stage)
    wench = stage.online("wench/x")
    wench.sends(f"<presence to='{room.jid}/wench'/>")
    gone = wench.receives(f"<presence from='{room.jid}/wench' type='unavailable'><x {USER}><status code='333'/></x></presence>")
    assert gone.find(OCCUPANT) is not None and crone


@play("rooms", "xep0045-5.1")
def in_a_moderated_room_voice_outlasts_the_visit(stage):
    room, crone, hag = coven(stage, "hag", moderatedroom="1")
    wench = stage.online("wench/x")
    room.sets(crone, "<item affiliation='member' jid='{wench}'/>")
    room.enters(wench, "wench")
    room.sets(crone, "<item nick='hag' role='participant'/>")
    room.sets(crone, "<item nick='wench' role='visitor'/>")
    for client, nick, role in ((hag, "hag", "participant"), (wench, "wench", "visitor")):
        client.receives(f"<presence from='{room.jid}/{nick}'><x {USER}><item role='{role}'/><status code='110'/></x></presence>")
        room.leaves(client, nick)
        assert room.enters(client, nick).find(ITEM).get("role") == role


@play("rooms", "xep0045-17.4")
def requests_between_occupants_are_no_private_messages(stage):
    room, crone, hag = coven(stage, "hag", allowpm="none")
    hag.sends(f"<iq type='get' id='v' to='{room.jid}/firstwitch'><query xmlns='jabber:iq:version'/></iq>")
    crone.receives(f"<iq type='get' from='{room.jid}/hag'><query xmlns='jabber:iq:version'/></iq>")


@play("rooms", "xep0045-7.2.2")
def the_own_presence_has_the_id_that_the_client_gave(stage):
    room, crone = coven(stage)
    hag = stage.online("hag/pda")
    hag.sends(f"<presence to='{room.jid}/thirdwitch' id='in'><x xmlns='{MUC}'/></presence>")
    own = hag.receives(f"<presence from='{room.jid}/thirdwitch'><x {USER}><status code='110'/></x></presence>")
    seen = crone.receives(f"<presence from='{room.jid}/thirdwitch'/>")
    assert own.get("id") == "in" and seen.get("id") is None, (own.get("id"), seen.get("id"))
    hag.sends(f"<presence to='{room.jid}/thirdwitch' id='out' type='unavailable'/>")
    own = hag.receives(f"<presence from='{room.jid}/thirdwitch' type='unavailable'><x {USER}><status code='110'/></x></presence>")
    seen = crone.receives(f"<presence from='{room.jid}/thirdwitch' type='unavailable'/>")
    assert own.get("id") == "out" and seen.get("id") is None, (own.get("id"), seen.get("id"))
