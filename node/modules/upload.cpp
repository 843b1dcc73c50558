// XEP-0363 HTTP File Upload, version 1.2.0: slots; the files themselves are in net/upload_http.cpp
#include <charconv>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "hooks/disco.hpp"
#include "hooks/module.hpp"
#include "hooks/upload_quota.hpp"
#include "hooks/upload_slot.hpp"
#include "xmpp/data_form.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr seconds slot_life{600};

/// Runs on a disk thread.
awaitable<Result<std::optional<Timestamp>>> take(const UploadQuota& quota, Jid account, std::uint64_t size) {
    co_return quota.take(account, size, wall_now());
}

class UploadModule final : public Module {
public:
    explicit UploadModule(ModuleContext& ctx)
        : ctx_(ctx),
          target_(Target::of_service("upload")),
          quota_(ctx.options().http.files, ctx.options().http.daily_quota) {
        ctx.hooks().service("upload", "File upload");
        ctx.hooks().identity(target_, {"store", "file", "File upload"});
        ctx.hooks().info_form(
            target_,
            make_form("result", ns::upload,
                      {{"max-file-size", "", "", {std::to_string(ctx.options().http.max_upload)}, {}}}));
        ctx.decide_get(target_, QName{std::string(ns::disco_info), "query"}, this, &UploadModule::info);
        ctx.decide_get(target_, QName{std::string(ns::disco_items), "query"}, this, &UploadModule::items);
        ctx.decide_get(target_, QName{std::string(ns::ping), "ping"}, this, &UploadModule::ping);
        ctx.on_get(target_, QName{std::string(ns::upload), "request"}, this, &UploadModule::slot);
    }
    ~UploadModule() override {
        disk_.stop();
        disk_.join();
    }

private:
    IqResult info(IqRequest& request, Batch&) {
        if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
        return disco_info(ctx_.hooks(), target_);
    }

    IqResult items(IqRequest&, Batch&) { return Element("query", ns::disco_items); }
    IqResult ping(IqRequest&, Batch&) { return Element{}; }

    awaitable<IqResult> slot(IqRequest& request) {
        const auto& http = ctx_.options().http;
        const auto& payload = request.iq.payload;
        auto name = clean_file_name(payload.attr("filename"));
        if (!name) co_return StanzaError::bad_request("the file name is not usable");
        UploadSlot slot;
        const auto size = payload.attr("size");
        const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), slot.size);
        const bool is_number = !size.empty() && end == size.data() + size.size();
        if (!is_number || (error != std::errc{} && error != std::errc::result_out_of_range)) {
            co_return StanzaError::bad_request("size is no number of bytes");
        }
        if (error == std::errc::result_out_of_range || slot.size > http.max_upload) {
            auto refusal = StanzaError::not_acceptable("File too large. The maximum file size is " +
                                                       std::to_string(http.max_upload) + " bytes");
            refusal.app = Element("file-too-large", ns::upload);
            refusal.app.add_text_child("max-file-size", ns::upload, std::to_string(http.max_upload));
            co_return refusal;
        }
        if (slot.size == 0) co_return StanzaError::bad_request("the file is empty");
        if (payload.has_attr("content-type")) {
            auto type = clean_media_type(payload.attr("content-type"));
            if (!type) co_return StanzaError::bad_request("content-type is no media type");
            slot.type = std::move(*type);
        }
        if (const auto full = co_await book(request.iq.from.bare(), slot.size)) co_return *full;
        slot.id = random_id(16);
        slot.name = std::move(*name);
        slot.until = std::chrono::floor<seconds>(wall_now() + slot_life).time_since_epoch().count();

        const auto url = http.public_url + slot.path();
        Element answer("slot", ns::upload);
        answer.add(Element("put", ns::upload).set("url", url + '?' + slot.query(http.secret)));
        answer.add(Element("get", ns::upload).set("url", url));
        co_return answer;
    }

    /// Counts the file against the account's quota; the error of XEP-0363 §5 if it is used up.
    awaitable<std::optional<StanzaError>> book(Jid account, std::uint64_t size) {
        if (quota_.limit() == 0) co_return std::nullopt;
        const auto again =
            co_await asio::co_spawn(disk_, take(quota_, std::move(account), size), asio::use_awaitable);
        if (!again) {
            log_error("upload_quota_failed", {{"error", again.error().message()}});
            co_return StanzaError::try_again();
        }
        if (!*again) co_return std::nullopt;
        auto refusal = StanzaError::resource_constraint("Quota reached. You can only upload " +
                                                        std::to_string(quota_.limit()) + " bytes a day");
        refusal.app = Element("retry", ns::upload);
        refusal.app.set("stamp", format_time_s(**again));
        co_return refusal;
    }

    ModuleContext& ctx_;
    Target target_;
    UploadQuota quota_;
    asio::thread_pool disk_{1};
};

}  // namespace

std::unique_ptr<Module> make_upload(ModuleContext& ctx) { return std::make_unique<UploadModule>(ctx); }

}  // namespace hexad
