"""Message archives: XEP-0313 with RSM (XEP-0059) and stable ids (XEP-0359)."""
import time

from support.coven import Room
from support.plays import play

MAM = "xmlns='urn:xmpp:mam:2'"
RSM = "xmlns='http://jabber.org/protocol/rsm'"
CARBONS = "xmlns='urn:xmpp:carbons:2'"
SID = "{urn:xmpp:sid:0}"
BODY = "{jabber:client}body"


def form(**fields):
    inside = "".join(f"<field var='{name.rstrip('_')}'><value>{value}</value></field>" for name, value in fields.items())
    return ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value>"
            f"</field>{inside}</x>")


def rsm(**fields):
    inside = "".join(f"<{name}>{value}</{name}>" if value != "" else f"<{name}/>" for name, value in fields.items())
    return f"<set {RSM}>{inside}</set>"


class Page:
    """One answer: the bodies, ids and stamps in order, and what <fin/> says."""

    def __init__(self, client, inside="", query="q", to=None):
        reply = client.sets(f"<query {MAM} queryid='{query}'>{inside}</query>", to=to)
        results = [element for element in client.queue if element.find("{urn:xmpp:mam:2}result") is not None]
        for element in results:
            client.queue.remove(element)
        found = [element.find("{urn:xmpp:mam:2}result") for element in results]
        assert all(one.get("queryid") == query for one in found), "the query's id"
        self.wrappers = results
        self.ids = [one.get("id") for one in found]
        self.messages = [one.find("{urn:xmpp:forward:0}forwarded/{jabber:client}message") for one in found]
        self.bodies = [one.find(BODY).text if one.find(BODY) is not None else None for one in self.messages]
        self.stamps = [one.find("{urn:xmpp:forward:0}forwarded/{urn:xmpp:delay}delay").get("stamp") for one in found]
        fin = reply.find("{urn:xmpp:mam:2}fin")
        assert fin is not None, "every answer ends with <fin/>"
        self.complete = fin.get("complete") == "true"
        told = fin.find("{http://jabber.org/protocol/rsm}set")
        text = lambda name: None if told is None else told.findtext("{http://jabber.org/protocol/rsm}" + name)
        self.first, self.last, self.count = text("first"), text("last"), text("count")


def chat(stage, count):
    """romeo and juliet with `count` messages m0, m1, … from him to her."""
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    stage.settles()
    says(stage, romeo, juliet, range(count))
    return romeo, juliet


def says(stage, romeo, juliet, numbers):
    for number in numbers:
        romeo.sends(f"<message to='{{juliet/b}}' type='chat' id='m{number}'><body>m{number}</body></message>")
    stage.settles()
    romeo.forgets()
    juliet.forgets()


def named(*numbers):
    return [f"m{number}" for number in numbers]


@play("archive", "xep0313-7")
def archiving_is_announced_by_the_account(stage):
    info = stage.online("romeo/a").asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{romeo}")
    features = {one.get("var") for one in info[0] if one.tag.endswith("}feature")}
    assert "urn:xmpp:mam:2" in features and "urn:xmpp:sid:0" in features, features


@play("archive", "xep0313-4.1")
def both_sides_find_a_message_in_their_archive(stage):
    romeo, juliet = chat(stage, 3)
    for client in (romeo, juliet):
        page = Page(client)
        assert page.bodies == named(0, 1, 2) and page.complete, page.bodies
        assert page.messages[0].get("from") == romeo.jid
        assert page.messages[0].get("to").split("/")[0] == juliet.jid.split("/")[0]
        assert page.messages[0].get("id") == "m0"


@play("archive", "rfc6120-10.1")
def a_query_behind_a_message_finds_it(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    for number in range(5):
        romeo.sends(f"<message to='{{juliet}}' type='chat'><body>m{number}</body></message>"
                    f"<iq type='set' id='q{number}'><query {MAM}>{rsm(max=1, before='')}</query></iq>")
        romeo.receives(f"<iq type='result' id='q{number}'/>")
        text = ["".join(one.itertext()) for one in romeo.queue]
        romeo.forgets()
        assert text == [f"m{number}"], text


@play("archive", "xep0313-4.1")
def results_come_from_the_own_archive_and_are_stamped(stage):
    romeo, _ = chat(stage, 2)
    page = Page(romeo)
    assert all(one.get("from") in (None, romeo.jid.split("/")[0]) for one in page.wrappers)
    assert all(stamp.endswith("Z") for stamp in page.stamps) and page.stamps == sorted(page.stamps)
    assert len(set(page.ids)) == 2


@play("archive", "xep0313-4.1")
def an_empty_archive_is_complete(stage):
    page = Page(stage.online("romeo/a"))
    assert page.bodies == [] and page.complete


@play("archive", "xep0359-3", "xep0313-5.1.1")
def the_id_in_a_message_is_the_id_in_the_archive(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>hello</body></message>")
    element = juliet.receives("<message type='chat'><body>hello</body><stanza-id xmlns='urn:xmpp:sid:0' id='{any}' "
                              "by='{juliet}'/></message>")
    ids = [one.get("id") for one in element.iter(f"{SID}stanza-id") if one.get("by") == stage.script("{juliet}")]
    assert Page(juliet).ids == ids


@play("archive", "xep0359-3")
def a_forged_id_is_replaced(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>hello</body>"
                "<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{juliet}'/>"
                "<stanza-id xmlns='urn:xmpp:sid:0' id='kept' by='elsewhere.example'/></message>")
    element = juliet.receives("<message type='chat'><body>hello</body></message>")
    told = {(one.get("by"), one.get("id")) for one in element.iter(f"{SID}stanza-id")}
    assert (stage.script("{juliet}"), "forged") not in told, told
    assert ("elsewhere.example", "kept") in told, told


@play("archive", "xep0359-5")
def the_sender_cannot_name_ids_of_his_own_archive(stage):
    romeo, phone, juliet = stage.online("romeo/a"), stage.online("romeo/phone"), stage.online("juliet/b")
    phone.sets(f"<enable {CARBONS}/>")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>hello</body>"
                "<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{romeo}'/></message>")
    element = juliet.receives("<message type='chat'><body>hello</body></message>")
    own = stage.script("{romeo}")
    assert own not in [one.get("by") for one in element.iter(f"{SID}stanza-id")], "the recipient gets it"
    carbon = phone.receives(f"<message type='chat'><sent {CARBONS}/></message>")
    for message in (carbon, *Page(romeo).messages):
        ids = [one.get("id") for one in message.iter(f"{SID}stanza-id") if one.get("by") == own]
        assert len(ids) == 1 and ids != ["forged"], ids


@play("archive", "xep0359-5")
def nobody_names_ids_of_anothers_archive_through_a_room(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    room = Room(stage)
    room.opens(romeo, "r")
    room.enters(juliet, "j")
    forged = ("<body>hello</body><stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{juliet}'/>"
              f"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{room.jid.upper()}'/>")
    romeo.sends(f"<message to='{room.jid}' type='groupchat'>{forged}</message><message to='{room.jid}/j' type='chat'>{forged}</message>")
    for type in ("groupchat", "chat"):
        element = juliet.receives(f"<message from='{room.jid}/r' type='{type}'><body>hello</body></message>")
        ids = [one.get("id") for one in element.iter(f"{SID}stanza-id")]
        assert "forged" not in ids, (type, ids)


@play("archive", "xep0359-3")
def the_origin_id_is_passed_on(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>")
    juliet.receives("<message type='chat'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='o1'/></message>")


@play("archive", "xep0359-3", "xep0160")
def a_message_that_waited_has_its_archive_id_too(stage):
    romeo = stage.online("romeo/a")
    stage.name_of("juliet")
    romeo.sends("<message to='{juliet}' type='chat'><body>hello</body></message>")
    romeo.settles()
    juliet = stage.online("juliet/b")
    element = juliet.receives("<message type='chat'><body>hello</body></message>")
    ids = [one.get("id") for one in element.iter(f"{SID}stanza-id")]
    assert Page(juliet).ids == ids


@play("archive", "xep0313-4.3")
def a_page_has_at_most_what_was_asked_for(stage):
    romeo, _ = chat(stage, 10)
    page = Page(romeo, rsm(max=4))
    assert page.bodies == named(0, 1, 2, 3) and not page.complete
    assert (page.first, page.last) == (page.ids[0], page.ids[-1])


@play("archive", "xep0313-4.3")
def paging_forwards_sees_every_message_once(stage):
    romeo, _ = chat(stage, 10)
    seen, page = [], Page(romeo, rsm(max=3))
    while True:
        seen += page.bodies
        if page.complete:
            break
        page = Page(romeo, rsm(max=3, after=page.last))
    assert seen == named(*range(10)), seen


@play("archive", "xep0313-4.3")
def the_newest_page_comes_first_when_paging_backwards(stage):
    romeo, _ = chat(stage, 10)
    page = Page(romeo, rsm(max=4, before=""))
    assert page.bodies == named(6, 7, 8, 9) and not page.complete, "in order inside the page"
    page = Page(romeo, rsm(max=4, before=page.first))
    assert page.bodies == named(2, 3, 4, 5) and not page.complete
    page = Page(romeo, rsm(max=4, before=page.first))
    assert page.bodies == named(0, 1) and page.complete


@play("archive", "xep0059-2.6")
def asking_for_none_gives_the_count(stage):
    romeo, _ = chat(stage, 5)
    page = Page(romeo, rsm(max=0))
    assert page.bodies == []
    assert page.count in (None, "5"), page.count


@play("archive", "xep0059-2.1")
def a_page_that_ends_exactly_is_complete(stage):
    romeo, _ = chat(stage, 4)
    assert Page(romeo, rsm(max=4)).complete


@play("archive", "xep0313-4.3.1")
def an_unknown_id_is_item_not_found(stage):
    romeo, _ = chat(stage, 1)
    for where in ("after", "before"):
        romeo.sets(f"<query {MAM}>{rsm(**{'max': 5, where: 'no-such-id'})}</query>", error="item-not-found")


@play("archive", "xep0313-4.1.1")
def the_archive_is_filtered_by_partner(stage):
    romeo, juliet = chat(stage, 2)
    nurse = stage.online("nurse/c")
    romeo.sends("<message to='{nurse}' type='chat'><body>to nurse</body></message>")
    nurse.sends("<message to='{romeo}' type='chat'><body>from nurse</body></message>")
    stage.settles()
    assert Page(romeo, form(with_=stage.script("{nurse}"))).bodies == ["to nurse", "from nurse"]
    assert Page(romeo, form(with_=stage.script("{juliet}"))).bodies == named(0, 1)
    assert Page(romeo, form(with_=stage.script("{juliet/b}"))).bodies == named(0, 1), "the full address"
    assert Page(romeo, form(with_=stage.script("{juliet/other}"))).bodies == []
    assert Page(romeo, form(with_="nobody@elsewhere.example")).bodies == []


@play("archive", "xep0313-4.1.2")
def the_archive_is_filtered_by_time(stage):
    romeo, juliet = chat(stage, 2)
    time.sleep(1.1)
    says(stage, romeo, juliet, (2, 3))
    stamps = Page(romeo).stamps
    assert Page(romeo, form(start=stamps[2])).bodies == named(2, 3)
    assert Page(romeo, form(end=stamps[1])).bodies == named(0, 1)
    assert Page(romeo, form(start=stamps[0], end=stamps[1])).bodies == named(0, 1)
    assert Page(romeo, form(start="2100-01-01T00:00:00Z")).bodies == []


@play("archive", "xep0313-4.1.3")
def filters_and_pages_go_together(stage):
    romeo, _ = chat(stage, 6)
    nurse = stage.online("nurse/c")
    nurse.sends("<message to='{romeo}' type='chat'><body>between</body></message>")
    stage.settles()
    page = Page(romeo, form(with_=stage.script("{juliet}")) + rsm(max=2, before=""))
    assert page.bodies == named(4, 5) and not page.complete


@play("archive", "xep0313-4.1.3")
def bounds_by_id_are_filters_and_not_pages(stage):
    romeo, _ = chat(stage, 10)
    ids = Page(romeo).ids
    before, after = {"before-id": ids[5]}, {"after-id": ids[4]}
    both = {"after-id": ids[2], "before-id": ids[8]}

    def page(fields, **set):
        found = Page(romeo, form(**fields) + rsm(**set))
        return found.bodies, found.count, found.complete
    assert page(before, max=2) == (named(0, 1), "5", False), page(before, max=2)
    assert page(before, max=2, before="") == (named(3, 4), "5", False)
    assert page(after, max=2, before="") == (named(8, 9), "5", False)
    assert page(after, max=0)[:2] == ([], "5")
    assert page(both, max=2, before="") == (named(6, 7), "5", False)
    assert page(both, max=2, after=ids[4]) == (named(5, 6), "5", False)
    assert page(both, max=3, before=ids[6]) == (named(3, 4, 5), "5", True)
    assert page({"after-id": ids[6]}, max=2, after=ids[2]) == (named(7, 8), "3", False)


@play("archive", "xep0313-4.1.4")
def the_form_of_fields_can_be_asked_for(stage):
    reply = stage.online("romeo/a").asks(f"<query {MAM}/>")
    fields = {one.get("var") for one in reply.iter("{jabber:x:data}field")}
    assert {"FORM_TYPE", "with", "start", "end"} <= fields, fields


@play("archive", "xep0313-4.1.5")
def the_form_is_open_to_any_id_and_groupchat_is_announced(stage):
    romeo = stage.online("romeo/a")
    reply = romeo.asks(f"<query {MAM}/>")
    fields = {one.get("var"): one for one in reply.iter("{jabber:x:data}field")}
    xdata = "{http://jabber.org/protocol/xdata-validate}"
    validate = fields["ids"].find(f"{xdata}validate")
    assert validate is not None and validate.get("datatype") == "xs:string" and validate.find(f"{xdata}open") is not None
    info = romeo.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{romeo}")
    announced = "urn:xmpp:mam:2#groupchat-field" in {one.get("var") for one in info[0]}
    assert announced and "include-groupchat" in fields, "as it is understood"


@play("archive", "xep0313-4.1.4")
def extended_fields_work_if_announced(stage):
    romeo, _ = chat(stage, 5)
    fields = {one.get("var") for one in romeo.asks(f"<query {MAM}/>").iter("{jabber:x:data}field")}
    ids = Page(romeo).ids
    if "before-id" in fields:
        assert Page(romeo, form(**{"before-id": ids[2]})).bodies == named(0, 1)
        assert Page(romeo, form(**{"after-id": ids[2]})).bodies == named(3, 4)
    if "ids" in fields:
        assert Page(romeo, form(ids=ids[3])).bodies == named(3)


@play("archive", "xep0313-4.4")
def a_page_can_be_asked_for_in_reverse(stage):
    romeo, _ = chat(stage, 4)
    info = romeo.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{romeo}")
    if "urn:xmpp:mam:2#extended" in {one.get("var") for one in info[0]}:
        assert Page(romeo, rsm(max=4) + "<flip-page/>").bodies == named(3, 2, 1, 0)


@play("archive", "xep0313-4.5")
def the_span_of_an_archive_can_be_asked_for_if_announced(stage):
    romeo, _ = chat(stage, 3)
    info = romeo.asks("<query xmlns='http://jabber.org/protocol/disco#info'/>", to="{romeo}")
    if "urn:xmpp:mam:2#extended" in {one.get("var") for one in info[0]}:
        reply = romeo.asks(f"<metadata {MAM}/>")
        page = Page(romeo)
        told = reply.find("{urn:xmpp:mam:2}metadata")
        assert told.find("{urn:xmpp:mam:2}start").get("id") == page.ids[0]
        assert told.find("{urn:xmpp:mam:2}end").get("id") == page.ids[-1]


@play("archive", "xep0313-4.1.4")
def an_unknown_field_or_a_bad_time_is_an_error(stage):
    romeo, _ = chat(stage, 1)
    reply = None
    for inside in (form(start="yesterday"), form(with_="@"), form(**{"{urn:example}odd": "x"})):
        number = f"bad{hash(inside)}"
        romeo.sends_raw(f"<iq type='set' id='{number}'><query {MAM}>{inside}</query></iq>")
        reply = romeo.receives(f"<iq type='error' id='{number}'><error/></iq>")
    assert reply is not None


@play("archive", "xep0313-8")
def nobody_reads_another_ones_archive(stage):
    romeo, _ = chat(stage, 1)
    romeo.sends(f"<iq type='set' id='x' to='{{juliet}}'><query {MAM}/></iq>")
    reply = romeo.receives("<iq type='error' id='x'><error/></iq>")
    assert reply is not None
    romeo.settles().receives_no("<message/>")


@play("archive", "xep0313-3", "xep0334")
def what_is_not_to_be_stored_is_not(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    hint = "xmlns='urn:xmpp:hints'"
    romeo.sends(f"""<message to='{{juliet/b}}' type='chat'><body>no-store</body><no-store {hint}/></message>
        <message to='{{juliet/b}}' type='chat'><body>permanent</body><no-permanent-store {hint}/></message>
        <message to='{{juliet/b}}' type='headline'><body>news</body></message>
        <message to='{{juliet/b}}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>
        <message to='{{juliet/b}}' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/><store {hint}/></message>
        <message to='{{juliet/b}}' type='chat'><body>stored</body></message>""")
    stage.settles()
    bodies = Page(juliet).bodies
    assert bodies == [None, "stored"], bodies


@play("archive", "xep0313-3")
def receipts_and_markers_are_stored(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends("""<message to='{juliet/b}'><received xmlns='urn:xmpp:receipts' id='x'/></message>
                   <message to='{juliet/b}'><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/></message>""")
    stage.settles()
    assert len(Page(juliet).ids) == 2


@play("archive", "xep0313-6")
def preferences_are_told_and_kept(stage):
    romeo = stage.online("romeo/a")
    prefs = romeo.asks(f"<prefs {MAM}/>").find("{urn:xmpp:mam:2}prefs")
    assert prefs.get("default") in ("always", "roster", "never")
    romeo.sets(f"<prefs {MAM} default='roster'><always><jid>a@b.example</jid></always><never><jid>c@d.example</jid></never></prefs>")
    prefs = romeo.asks(f"<prefs {MAM}/>").find("{urn:xmpp:mam:2}prefs")
    assert prefs.get("default") == "roster"
    assert [one.text for one in prefs.iter("{urn:xmpp:mam:2}jid")] == ["a@b.example", "c@d.example"]


@play("archive", "xep0313-6")
def preferences_decide_what_is_stored(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    juliet.sets(f"<prefs {MAM} default='never'><always/><never/></prefs>")
    romeo.sends("<message to='{juliet}' type='chat'><body>hello</body></message>")
    stage.settles()
    assert Page(juliet).bodies == [] and Page(romeo).bodies == ["hello"]
    juliet.sets(f"<prefs {MAM} default='never'><always><jid>{{romeo}}</jid></always><never/></prefs>")
    romeo.sends("<message to='{juliet}' type='chat'><body>again</body></message>")
    stage.settles()
    assert Page(juliet).bodies == ["again"]


@play("archive", "xep0313-4.3")
def a_page_has_a_limit_of_the_server(stage):
    romeo, _ = chat(stage, 300)
    page = Page(romeo)
    assert len(page.bodies) < 300 and not page.complete, f"{len(page.bodies)} in one page"
    seen = list(page.bodies)
    while not page.complete:
        page = Page(romeo, rsm(after=page.last))
        seen += page.bodies
    assert seen == named(*range(300))


@play("archive", "delivery")
def a_message_to_oneself_is_stored_once(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{romeo}' type='chat'><body>note</body></message>")
    romeo.settles()
    assert Page(romeo).bodies == ["note"]


@play("archive", "delivery")
def carbons_make_no_second_copy(stage):
    romeo, juliet, phone = stage.online("romeo/a"), stage.online("juliet/b"), stage.online("juliet/phone")
    phone.sets(f"<enable {CARBONS}/>")
    romeo.sends("<message to='{juliet/b}' type='chat'><body>once</body></message>")
    stage.settles()
    assert Page(juliet).bodies == ["once"]
