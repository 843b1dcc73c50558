#pragma once

#include <string>
#include <string_view>

namespace hexad {

/// Where tests stop the process between two steps that a crash must not come between. Does nothing unless the
/// build has a sanitizer (HEXAD_FAIL_POINTS). If the folder holds a file of the point's name, the file is
/// removed and the process gets the signal that it names: KILL, or STOP to stand still there; `BUSY ms`
/// keeps only the calling thread for that long.
void fail_point(std::string_view name);
/// The folder; said once, before the first point.
void set_fail_point_folder(std::string folder);

}  // namespace hexad
