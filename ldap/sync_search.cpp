// Content synchronisation (RFC 4533), refreshOnly. libldap has calls for it, but they wait for ever.

#include "ldap/connection.hpp"
#include "ldap/message.hpp"

namespace hexad::ldap {

namespace {

constexpr std::size_t uuid_bytes = 16;

Ber to_ber(const berval& value) { return Ber(ber_init(const_cast<berval*>(&value))); }

/// The request control: SEQUENCE { mode refreshOnly, cookie OPTIONAL }, critical: without it the answer means
/// nothing.
Control request_control(const std::string& cookie) {
    const Ber ber(ber_alloc_t(LBER_USE_DER));
    if (!ber) return nullptr;
    berval given{cookie.size(), const_cast<char*>(cookie.data())};
    const int written = cookie.empty() ? ber_printf(ber.get(), "{e}", LDAP_SYNC_REFRESH_ONLY)
                                       : ber_printf(ber.get(), "{eO}", LDAP_SYNC_REFRESH_ONLY, &given);
    berval value{};
    if (written < 0 || ber_flatten2(ber.get(), &value, 0) < 0) return nullptr;
    LDAPControl* control = nullptr;
    ldap_control_create(LDAP_CONTROL_SYNC, 1, &value, 1, &control);
    return Control(control);
}

std::string bytes_of(const berval& value) {
    return value.bv_val ? std::string(value.bv_val, value.bv_len) : std::string();
}

/// An entry with its state control: SEQUENCE { state, entryUUID, cookie OPTIONAL } (§2.2). False if it has
/// none.
bool hand_on_entry(LDAP* handle, LDAPMessage* message, const SyncHandlers& handlers, ReadSummary& summary) {
    LDAPControl** raw = nullptr;
    if (ldap_get_entry_controls(handle, message, &raw) != LDAP_SUCCESS) return false;
    const Controls controls(raw);
    LDAPControl* found = raw ? ldap_control_find(LDAP_CONTROL_SYNC_STATE, raw, nullptr) : nullptr;
    if (found == nullptr) return false;
    const Ber ber = to_ber(found->ldctl_value);
    ber_int_t state = 0;
    berval uuid{};
    if (!ber || ber_scanf(ber.get(), "{em", &state, &uuid) == LBER_ERROR || uuid.bv_len != uuid_bytes)
        return false;
    switch (state) {
        case LDAP_SYNC_PRESENT:
            handlers.present(bytes_of(uuid));
            return true;
        case LDAP_SYNC_DELETE:
            handlers.deleted(bytes_of(uuid));
            return true;
        case LDAP_SYNC_ADD:
        case LDAP_SYNC_MODIFY:
            ++summary.entries;
            handlers.changed(bytes_of(uuid), read_entry(handle, message));
            return true;
        default:
            return false;
    }
}

/// A sync info message (§2.5): a new cookie, the end of a phase, or a set of UUIDs. False if it cannot be
/// read.
bool take_info(LDAP* handle, LDAPMessage* message, const SyncHandlers& handlers, std::string& cookie) {
    char* oid = nullptr;
    berval* raw = nullptr;
    if (ldap_parse_intermediate(handle, message, &oid, &raw, nullptr, 0) != LDAP_SUCCESS) return false;
    const std::string kind = take(oid);
    const std::unique_ptr<berval, decltype(&ber_bvfree)> value(raw, &ber_bvfree);
    if (kind != LDAP_SYNC_INFO || !value) return true;  // somebody else's message
    const Ber ber = to_ber(*value);
    if (!ber) return false;

    ber_len_t length = 0;
    const auto choice = ber_peek_tag(ber.get(), &length);
    berval given{};
    if (choice == LDAP_TAG_SYNC_NEW_COOKIE) {
        if (ber_scanf(ber.get(), "tm", &length, &given) == LBER_ERROR) return false;
        cookie = bytes_of(given);
        return true;
    }
    if (ber_scanf(ber.get(), "t{", &length) == LBER_ERROR) return false;
    if (ber_peek_tag(ber.get(), &length) == LDAP_TAG_SYNC_COOKIE) {
        if (ber_scanf(ber.get(), "m", &given) == LBER_ERROR) return false;
        cookie = bytes_of(given);
    }
    if (choice != LDAP_TAG_SYNC_ID_SET) return true;  // the end of a phase: the done control says the same
    ber_int_t deletes = 0;
    if (ber_peek_tag(ber.get(), &length) == LDAP_TAG_REFRESHDELETES &&
        ber_scanf(ber.get(), "b", &deletes) == LBER_ERROR)
        return false;
    BerVarray uuids = nullptr;
    if (ber_scanf(ber.get(), "[W]", &uuids) == LBER_ERROR) return false;
    for (berval* uuid = uuids; uuid != nullptr && uuid->bv_val != nullptr; ++uuid)
        (deletes ? handlers.deleted : handlers.present)(bytes_of(*uuid));
    ber_bvarray_free(uuids);
    return true;
}

/// The done control (§2.4): SEQUENCE { cookie OPTIONAL, refreshDeletes DEFAULT FALSE }.
bool take_done(LDAPControl& control, bool is_initial, SyncSummary& summary) {
    const Ber ber = to_ber(control.ldctl_value);
    ber_len_t length = 0;
    if (!ber || ber_scanf(ber.get(), "{") == LBER_ERROR) return false;
    if (ber_peek_tag(ber.get(), &length) == LDAP_TAG_SYNC_COOKIE) {
        berval given{};
        if (ber_scanf(ber.get(), "m", &given) == LBER_ERROR) return false;
        summary.cookie = bytes_of(given);
    }
    ber_int_t deletes = 0;
    if (ber_peek_tag(ber.get(), &length) == LDAP_TAG_REFRESHDELETES &&
        ber_scanf(ber.get(), "b", &deletes) == LBER_ERROR)
        return false;
    // Without a cookie it was the whole content, whatever the server calls it.
    summary.unmentioned_are_gone = deletes == 0 || is_initial;
    return true;
}

}  // namespace

SyncSummary LdapConnection::refresh(const SearchRequest& request, const std::string& cookie,
                                    const SyncHandlers& handlers) {
    SyncSummary summary;
    summary.cookie = cookie;  // a server with nothing new need not send another
    const auto fails = [&summary](Failure failure) {
        summary.read.failure = std::move(failure);
        summary.cookie.clear();
        summary.unmentioned_are_gone = false;
        return std::move(summary);
    };
    const auto control = request_control(cookie);
    if (!control) return fails(failure(LDAP_ENCODING_ERROR));
    LDAPControl* controls[] = {control.get(), nullptr};
    auto attributes = to_attributes(request);
    int id = 0;
    if (const int code =
            ldap_search_ext(handle_.get(), request.base.c_str(), to_scope(request.scope),
                            request.filter.c_str(), attributes.empty() ? nullptr : attributes.data(), 0,
                            controls, nullptr, nullptr, request.size_limit, &id);
        code != LDAP_SUCCESS)
        return fails(failure(code));
    while (true) {
        auto wait = to_timeval(timeout_);
        LDAPMessage* raw = nullptr;
        const int kind = ldap_result(handle_.get(), id, LDAP_MSG_ONE, &wait, &raw);
        const Message message(raw);
        bool is_understood = true;
        switch (kind) {
            case LDAP_RES_SEARCH_ENTRY:
                is_understood = hand_on_entry(handle_.get(), raw, handlers, summary.read);
                break;
            case LDAP_RES_SEARCH_REFERENCE:
                for (auto& url : read_reference(handle_.get(), raw))
                    summary.read.referrals.push_back(std::move(url));
                break;
            case LDAP_RES_INTERMEDIATE:
                is_understood = take_info(handle_.get(), raw, handlers, summary.cookie);
                break;
            case LDAP_RES_SEARCH_RESULT: {
                const auto outcome = read_outcome(handle_.get(), raw);
                summary.refresh_required = outcome.code == LDAP_SYNC_REFRESH_REQUIRED;
                if (outcome.code != LDAP_SUCCESS) return fails(outcome.failure());
                auto* done = outcome.find(LDAP_CONTROL_SYNC_DONE);
                if (done == nullptr || !take_done(*done, cookie.empty(), summary))
                    return fails(Failure{LDAP_DECODING_ERROR, "no sync done control", {}});
                return summary;
            }
            case 0:
                return fails(Failure{LDAP_TIMEOUT, ldap_err2string(LDAP_TIMEOUT), {}});
            default:
                return fails(failure(LDAP_SERVER_DOWN));
        }
        if (!is_understood) {
            ldap_abandon_ext(handle_.get(), id, nullptr, nullptr);
            return fails(Failure{LDAP_DECODING_ERROR, "a sync message that cannot be read", {}});
        }
    }
}

}  // namespace hexad::ldap
