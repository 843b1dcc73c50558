// A libstrophe client for the acceptance tests: strophe_client JID PASSWORD ADDRESS PORT CA-FILE
//
// Standard input, one command a line: XML is sent as a stanza; `!cut` breaks the TCP connection, `!resume
// ADDRESS PORT` connects again with the XEP-0198 state of the broken stream, `!quit` closes the stream and
// ends the program. Standard output, one event a line: CONNECTED, DISCONNECTED, CERTIFICATE reason, or a
// stanza's XML.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

#include <strophe.h>

namespace {

void event(std::string line) {
    std::replace(line.begin(), line.end(), '\n', ' ');
    std::cout << line << std::endl;
}

int refuse_certificate(const xmpp_tlscert_t*, const char* reason) {
    event(std::string("CERTIFICATE ") + (reason != nullptr ? reason : ""));
    return 0;
}

class Client {
public:
    Client(std::string jid, std::string password, std::string ca_file)
        : jid_(std::move(jid)), password_(std::move(password)), ca_file_(std::move(ca_file)) {
        xmpp_initialize();
        log_ = xmpp_get_default_logger(std::getenv("STROPHE_DEBUG") ? XMPP_LEVEL_DEBUG : XMPP_LEVEL_ERROR);
        context_ = xmpp_ctx_new(nullptr, log_);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() {
        release();
        xmpp_ctx_free(context_);
        xmpp_shutdown();
    }

    /// With `state` the stream is resumed; libstrophe takes it over.
    void connect(const std::string& address, unsigned short port, xmpp_sm_state_t* state = nullptr) {
        release();
        current_ = this;
        connection_ = xmpp_conn_new(context_);
        xmpp_conn_set_flags(connection_, XMPP_CONN_FLAG_MANDATORY_TLS);
        xmpp_conn_set_jid(connection_, jid_.c_str());
        xmpp_conn_set_pass(connection_, password_.c_str());
        xmpp_conn_set_cafile(connection_, ca_file_.c_str());
        xmpp_conn_set_certfail_handler(connection_, refuse_certificate);
        xmpp_conn_set_sockopt_callback(connection_, [](xmpp_conn_t*, void* socket) {
            current_->socket_ = *static_cast<int*>(socket);
            return 0;
        });
        if (state != nullptr) xmpp_conn_set_sm_state(connection_, state);
        if (xmpp_connect_client(connection_, address.c_str(), port, changed, this) != XMPP_EOK)
            event("DISCONNECTED could not connect");
    }

    /// Runs until told to quit and disconnected, or standard input ends.
    void run() {
        std::string pending;
        while (!ended_) {
            xmpp_run_once(context_, 20);
            pollfd in{STDIN_FILENO, POLLIN, 0};
            if (poll(&in, 1, 0) <= 0) continue;
            char buffer[65536];
            const auto size = read(STDIN_FILENO, buffer, sizeof buffer);
            if (size <= 0) return;
            pending.append(buffer, static_cast<std::size_t>(size));
            for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
                command(pending.substr(0, end));
                pending.erase(0, end + 1);
            }
        }
    }

private:
    static void changed(xmpp_conn_t* connection, xmpp_conn_event_t what, int error, xmpp_stream_error_t*,
                        void* self) {
        auto& client = *static_cast<Client*>(self);
        if (what == XMPP_CONN_CONNECT) {
            xmpp_handler_add(connection, arrived, nullptr, nullptr, nullptr, self);
            event(xmpp_conn_is_secured(connection) ? "CONNECTED" : "CONNECTED WITHOUT TLS");
        } else {
            event("DISCONNECTED " + std::to_string(error));
            client.ended_ = client.quitting_;
        }
    }

    static int arrived(xmpp_conn_t*, xmpp_stanza_t* stanza, void* self) {
        char* text = nullptr;
        std::size_t size = 0;
        if (xmpp_stanza_to_text(stanza, &text, &size) == XMPP_EOK) {
            event({text, size});
            xmpp_free(static_cast<Client*>(self)->context_, text);
        }
        return 1;
    }

    void command(const std::string& line) {
        std::istringstream words(line);
        std::string word, address;
        unsigned short port = 0;
        words >> word;
        if (word == "!cut") {
            shutdown(socket_, SHUT_RDWR);
        } else if (word == "!resume") {
            words >> address >> port;
            connect(address, port, xmpp_conn_get_sm_state(connection_));
        } else if (word == "!quit") {
            quitting_ = true;
            xmpp_disconnect(connection_);
        } else if (auto* stanza = xmpp_stanza_new_from_string(context_, line.c_str())) {
            xmpp_send(connection_, stanza);
            xmpp_stanza_release(stanza);
        } else {
            event("BAD COMMAND " + line);
        }
    }

    void release() {
        if (connection_ != nullptr) xmpp_conn_release(connection_);
        connection_ = nullptr;
    }

    static inline Client* current_ = nullptr;  ///< the socket's callback has no user data
    std::string jid_, password_, ca_file_;
    xmpp_log_t* log_ = nullptr;
    xmpp_ctx_t* context_ = nullptr;
    xmpp_conn_t* connection_ = nullptr;
    int socket_ = -1;
    bool quitting_ = false;
    bool ended_ = false;
};

}  // namespace

int main(int count, char** arguments) {
    if (count != 6) {
        std::cerr << "strophe_client JID PASSWORD ADDRESS PORT CA-FILE\n";
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    Client client(arguments[1], arguments[2], arguments[5]);
    client.connect(arguments[3], static_cast<unsigned short>(std::atoi(arguments[4])));
    client.run();
    return 0;
}
