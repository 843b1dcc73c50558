"""A server whose accounts have no archive: the rest of messaging is as ever, and rooms keep theirs."""
from support.plays import play

config = """
[[host]]
name = "example.test"
[[group]]
name = "g1"
nodes = [{ name = "n1", address = "{address}" }]
[store]
url = "sqlite://{data}/hexad.sqlite"
[module.archive]
enabled = false
"""
MAM, SID, INFO = "urn:xmpp:mam:2", "urn:xmpp:sid:0", "http://jabber.org/protocol/disco#info"


def features(client, to):
    return {f.get("var") for f in client.asks(f"<query xmlns='{INFO}'/>", to=to)[0] if f.tag.endswith("feature")}


@play("archive", "xep0313-5")
def accounts_without_archive_do_not_say_that_they_have_one(stage):
    romeo = stage.login("romeo/a")
    assert not features(romeo, "{romeo}") & {MAM, SID}
    assert not features(romeo, "{domain}") & {MAM, SID}
    romeo.asks(f"<query xmlns='{MAM}'/>", error="service-unavailable")


@play("archive", "xep0359-5")
def a_message_has_no_stanza_id_that_nobody_gave_it(stage):
    romeo, juliet = stage.online("romeo/a"), stage.online("juliet/b")
    romeo.sends(f"<message to='{{juliet}}' type='chat'><body>hi</body><stanza-id xmlns='{SID}' by='{{juliet}}' id='forged'/></message>")
    message = juliet.receives("<message from='{romeo}/a' type='chat'><body>hi</body></message>")
    assert message.find(f"{{{SID}}}stanza-id") is None


@play("archive", "xep0160")
def offline_messages_wait_all_the_same(stage):
    romeo = stage.online("romeo/a")
    romeo.sends("<message to='{mercutio}' type='chat'><body>later</body></message>")
    romeo.settles()
    mercutio = stage.online("mercutio/c")
    mercutio.receives("<message type='chat'><body>later</body><delay xmlns='urn:xmpp:delay'/></message>")
