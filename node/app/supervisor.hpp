#pragma once

#include "app/server.hpp"

namespace hexad {

/// Runs the node as a child process and watches it. A signal to end goes on to the child; a child that dies
/// is reported at once (and, in a cluster, its lease is handed back). Outside the lab it is started again,
/// with growing pauses. The exit status of the last child.
int supervise(const ServerOptions& options);

/// Writes this process's id to a file, replacing it.
void write_pid_file(const std::string& path);

}  // namespace hexad
