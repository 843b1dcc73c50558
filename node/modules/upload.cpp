// XEP-0363 HTTP File Upload, version 1.2.0: slots; the files themselves are in net/upload_http.cpp
#include <charconv>

#include "base/ids.hpp"
#include "hooks/disco.hpp"
#include "hooks/module.hpp"
#include "hooks/upload_slot.hpp"
#include "xmpp/data_form.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr seconds slot_life{600};

class UploadModule final : public Module {
public:
    explicit UploadModule(ModuleContext& ctx) : ctx_(ctx), target_(Target::of_service("upload")) {
        ctx.hooks().service("upload", "File upload");
        ctx.hooks().identity(target_, {"store", "file", "File upload"});
        ctx.hooks().info_form(
            target_,
            make_form("result", ns::upload,
                      {{"max-file-size", "", "", {std::to_string(ctx.options().http.max_upload)}, {}}}));
        ctx.decide_get(target_, QName{std::string(ns::disco_info), "query"}, this, &UploadModule::info);
        ctx.decide_get(target_, QName{std::string(ns::disco_items), "query"}, this, &UploadModule::items);
        ctx.decide_get(target_, QName{std::string(ns::ping), "ping"}, this, &UploadModule::ping);
        ctx.decide_get(target_, QName{std::string(ns::upload), "request"}, this, &UploadModule::slot);
    }

private:
    IqResult info(IqRequest& request, Batch&) {
        if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
        return disco_info(ctx_.hooks(), target_);
    }

    IqResult items(IqRequest&, Batch&) { return Element("query", ns::disco_items); }
    IqResult ping(IqRequest&, Batch&) { return Element{}; }

    IqResult slot(IqRequest& request, Batch&) {
        const auto& http = ctx_.options().http;
        const auto& payload = request.iq.payload;
        auto name = clean_file_name(payload.attr("filename"));
        if (!name) return StanzaError::bad_request("the file name is not usable");
        UploadSlot slot;
        const auto size = payload.attr("size");
        const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), slot.size);
        const bool is_number = !size.empty() && end == size.data() + size.size();
        if (!is_number || (error != std::errc{} && error != std::errc::result_out_of_range)) {
            return StanzaError::bad_request("size is no number of bytes");
        }
        if (error == std::errc::result_out_of_range || slot.size > http.max_upload) {
            auto refusal = StanzaError::not_acceptable("File too large. The maximum file size is " +
                                                       std::to_string(http.max_upload) + " bytes");
            refusal.app = Element("file-too-large", ns::upload);
            refusal.app.add_text_child("max-file-size", ns::upload, std::to_string(http.max_upload));
            return refusal;
        }
        if (slot.size == 0) return StanzaError::bad_request("the file is empty");
        if (payload.has_attr("content-type")) {
            auto type = clean_media_type(payload.attr("content-type"));
            if (!type) return StanzaError::bad_request("content-type is no media type");
            slot.type = std::move(*type);
        }
        slot.id = random_id(16);
        slot.name = std::move(*name);
        slot.until = std::chrono::floor<seconds>(wall_now() + slot_life).time_since_epoch().count();

        const auto url = http.public_url + slot.path();
        Element answer("slot", ns::upload);
        answer.add(Element("put", ns::upload).set("url", url + '?' + slot.query(http.secret)));
        answer.add(Element("get", ns::upload).set("url", url));
        return answer;
    }

    ModuleContext& ctx_;
    Target target_;
};

}  // namespace

std::unique_ptr<Module> make_upload(ModuleContext& ctx) { return std::make_unique<UploadModule>(ctx); }

}  // namespace hexad
