// XEP-0313 Message Archive Management, version 1.1.0, with XEP-0359 stanza ids and XEP-0334 hints
#include "hooks/archive_query.hpp"
#include "hooks/module.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

/// What is worth keeping (§5.1.3, and the store rules of XEP-0085, XEP-0184, XEP-0333, XEP-0334).
bool worth_keeping(const Element& message) {
    if (message.find("no-store", ns::hints) != nullptr ||
        message.find("no-permanent-store", ns::hints) != nullptr)
        return false;
    if (message.find("store", ns::hints) != nullptr) return true;
    const auto type = message_type(message);
    if (type != MessageType::chat && type != MessageType::normal) return false;
    if (message.find("body", ns::client) != nullptr) return true;
    if (message.find("received", ns::receipts) != nullptr) return true;
    const auto* marker = message.find_ns(ns::markers);
    if (marker != nullptr && marker->name() != "markable") return true;
    const auto* user = message.find("x", ns::muc_user);
    return (user != nullptr && user->find("invite", ns::muc_user) != nullptr) ||
           message.find("x", ns::conference) != nullptr;
}

bool wanted(const AccountData& account, const Jid& with) {
    const auto& prefs = account.archive;
    const auto named = [&](const std::set<std::string>& list) {
        return list.contains(with.to_string()) || list.contains(with.bare().to_string());
    };
    if (named(prefs.never)) return false;
    if (named(prefs.always)) return true;
    switch (prefs.by_default) {
        case ArchiveDefault::always:
            return true;
        case ArchiveDefault::never:
            return false;
        case ArchiveDefault::roster:
            break;
    }
    const auto it = account.roster.find(with.bare());
    return it != account.roster.end() && it->second.listed;
}

class ArchiveModule final : public Module {
public:
    explicit ArchiveModule(ModuleContext& ctx) : ctx_(ctx) {
        ctx.on(Phase::guard, this, &ArchiveModule::from_client);
        ctx.on(Phase::guard, this, &ArchiveModule::received);
        if (!ctx.options().archives_accounts) return;
        const std::string space(ns::mam);
        ctx.on_set(Target::account(), QName{space, "query"}, this, &ArchiveModule::query);
        ctx.decide_get(Target::account(), QName{space, "query"}, this, &ArchiveModule::form);
        ctx.on_get(Target::account(), QName{space, "metadata"}, this, &ArchiveModule::metadata);
        ctx.decide_get(Target::account(), QName{space, "prefs"}, this, &ArchiveModule::get_prefs);
        ctx.decide_set(Target::account(), QName{space, "prefs"}, this, &ArchiveModule::set_prefs);
        for (const auto& target : {Target::account(), Target::server()}) {
            ctx.feature(target, ns::mam);
            ctx.feature(target, ns::sid);
        }
        ctx.feature(Target::account(), ns::mam_extended);
        ctx.feature(Target::account(), ns::mam_groupchat);
        ctx.on(Phase::observe, this, &ArchiveModule::sent);
    }

private:
    /// XEP-0359 §5: only the account's server names ids for it, not its clients.
    Verdict from_client(StanzaFromClient& event) {
        if (event.stanza.kind == StanzaKind::message) strip_ids(event.stanza.xml, event.session.account->jid);
        return Verdict::pass;
    }

    Verdict received(MessageToAccount& event) {
        strip_ids(event.xml, event.recipient.jid);
        if (!ctx_.options().archives_accounts) return Verdict::pass;
        const auto& from = event.stanza.from;
        if (!worth_keeping(event.xml) || (event.targets.empty() && !event.deliverable_offline))
            return Verdict::pass;
        if (!wanted(event.recipient, from)) return Verdict::pass;
        event.xml.add(Element("stanza-id", ns::sid)
                          .set("by", event.recipient.jid.to_string())
                          .set("id", event.stanza_id));
        // What one sends to oneself is in the archive once.
        if (from.bare() == event.recipient.jid) return Verdict::pass;
        event.batch.archive.push_back({event.recipient.id,
                                       event.stanza_id,
                                       Direction::in,
                                       from,
                                       std::string(origin_id(event.xml)),
                                       {},
                                       event.at,
                                       make_bytes(event.xml.to_string(ns::client))});
        event.archived = true;
        return Verdict::pass;
    }

    Verdict sent(MessageFromAccount& event) {
        const auto& account = *event.sender.account;
        if (!worth_keeping(event.xml) || !wanted(account, event.stanza.to)) return Verdict::pass;
        event.xml.add(
            Element("stanza-id", ns::sid).set("by", account.jid.to_string()).set("id", event.stanza_id));
        event.batch.archive.push_back({account.id, event.stanza_id, Direction::out, event.stanza.to,
                                       std::string(origin_id(event.xml)), event.content_hash, event.at,
                                       make_bytes(event.xml.to_string(ns::client))});
        return Verdict::pass;
    }

    static std::string_view origin_id(const Element& message) {
        const auto* element = message.find("origin-id", ns::sid);
        return element == nullptr ? std::string_view{} : element->attr("id");
    }

    /// XEP-0359 §5: nobody else may claim to speak for this archive.
    static void strip_ids(Element& message, const Jid& by) {
        message.remove_if([&](const Element& e) {
            if (!e.is("stanza-id", ns::sid)) return false;
            const auto jid = Jid::parse(e.attr("by"));
            return jid && *jid == by;
        });
    }

    awaitable<IqResult> query(IqRequest& request) {
        if (request.account != request.sender) co_return StanzaError::forbidden();
        auto query = read_archive_query(request.iq.payload, ctx_.options().archive_page_limit);
        if (!query) co_return query.error();
        const auto page = co_await ctx_.store().archive_page(request.account->id, *query);
        if (!page) co_return StanzaError::try_again();
        if (page->id_not_found) co_return StanzaError::item_not_found();
        request.before = archive_messages(*page, request.iq.payload, request.account->jid, request.iq.from);
        co_return archive_fin(*page);
    }

    IqResult form(IqRequest& request, Batch&) {
        if (request.account != request.sender) return StanzaError::forbidden();
        return archive_form(true);
    }

    awaitable<IqResult> metadata(IqRequest& request) {
        if (request.account != request.sender) co_return StanzaError::forbidden();
        const auto span = co_await ctx_.store().archive_span(request.account->id);
        if (!span) co_return StanzaError::try_again();
        co_return archive_metadata(*span);
    }

    static Element prefs(const AccountData& account) {
        const auto& p = account.archive;
        Element prefs("prefs", ns::mam);
        prefs.set("default", p.by_default == ArchiveDefault::always  ? "always"
                             : p.by_default == ArchiveDefault::never ? "never"
                                                                     : "roster");
        Element always("always", ns::mam), never("never", ns::mam);
        for (const auto& jid : p.always) always.add_text_child("jid", ns::mam, jid);
        for (const auto& jid : p.never) never.add_text_child("jid", ns::mam, jid);
        prefs.add(std::move(always));
        prefs.add(std::move(never));
        return prefs;
    }

    IqResult get_prefs(IqRequest& request, Batch&) {
        if (request.account != request.sender) return StanzaError::forbidden();
        return prefs(*request.account);
    }

    IqResult set_prefs(IqRequest& request, Batch& batch) {
        if (request.account != request.sender) return StanzaError::forbidden();
        ArchivePreferences next;
        const auto text = request.iq.payload.attr("default");
        if (text == "always") {
            next.by_default = ArchiveDefault::always;
        } else if (text == "never") {
            next.by_default = ArchiveDefault::never;
        } else if (text == "roster") {
            next.by_default = ArchiveDefault::roster;
        } else {
            return StanzaError::bad_request("default must be always, never or roster");
        }
        for (const auto* list : request.iq.payload.elements()) {
            if (list->name() != "always" && list->name() != "never") continue;
            for (const auto* element : list->elements()) {
                const auto jid = Jid::parse(element->text());
                if (!jid) return StanzaError::jid_malformed();
                (list->name() == "always" ? next.always : next.never).insert(jid->to_string());
            }
        }
        AccountChange change;
        change.archive = std::move(next);
        ctx_.cluster().change_account(*request.account, std::move(change), batch);
        return prefs(*request.account);
    }

    ModuleContext& ctx_;
};

}  // namespace

std::unique_ptr<Module> make_archive(ModuleContext& ctx) { return std::make_unique<ArchiveModule>(ctx); }

}  // namespace hexad
