#include "base/config.hpp"

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <unistd.h>

#include <catch2/catch.hpp>

using namespace hexad;

namespace {

/// A file with one group and these lines, the first of which is line 10.
class File {
public:
    explicit File(const std::string& lines)
        : path_(std::filesystem::temp_directory_path() / ("hexad-config-" + std::to_string(::getpid()))) {
        std::ofstream(path_)
            << "[[host]]\nname = \"example.test\"\n[store]\nurl = \"sqlite:///tmp/x\"\n"
               "[[group]]\nname = \"g1\"\n[[group.nodes]]\nname = \"n1\"\naddress = \"::1\"\n"
            << lines;
    }
    ~File() { std::filesystem::remove(path_); }
    std::string name() const { return path_.string(); }

private:
    std::filesystem::path path_;
};

/// What is wrong, without the name of the file.
std::string faults(const std::string& lines) {
    const File file(lines);
    try {
        load_config(file.name());
    } catch (const ConfigError& e) {
        std::string all = e.what();
        for (auto at = all.find(file.name()); at != std::string::npos; at = all.find(file.name()))
            all.erase(at, file.name().size() + 1);
        return all;
    }
    return {};
}

std::string read_file(const std::string& name) {
    std::stringstream text;
    text << std::ifstream(std::string(HEXAD_SOURCE) + '/' + name).rdbuf();
    return text.str();
}

}  // namespace

TEST_CASE("the example of the documentation is a configuration", "[config]") {
    const auto page = read_file("docs/configuration.md");
    const auto begin = page.find("```toml\n") + 8;
    const auto end = page.find("```", begin);
    REQUIRE(end != std::string::npos);
    const auto path =
        std::filesystem::temp_directory_path() / ("hexad-example-" + std::to_string(::getpid()));
    std::ofstream(path) << page.substr(begin, end - begin);
    const auto config = load_config(path.string());
    std::filesystem::remove(path);
    CHECK(config.groups.size() == 2);
    CHECK(config.agreements.size() == 1);
}

TEST_CASE("every key is documented", "[config]") {
    const auto source = read_file("node/base/config.cpp"), page = read_file("docs/configuration.md");
    const std::regex reads(
        R"re(\b\w\.(?:text|texts|number|real|boolean|choice|seconds_of|milliseconds_of|tables?)\("(\w+)")re");
    int keys = 0;
    for (std::sregex_iterator it(source.begin(), source.end(), reads), last; it != last; ++it, ++keys) {
        const auto key = (*it)[1].str();
        INFO(key);
        CHECK(std::regex_search(page, std::regex("[`\\[.]" + key + "[`\\].]")));
    }
    CHECK(keys > 80);
}

TEST_CASE("placement rules are read in their order", "[config][placement]") {
    const File file(
        "[[placement]]\nsite = \"Berlin\"\ngroup = \"g1\"\n"
        "[[placement]]\ndirectory_group = \"cn=sales,dc=test\"\ngroup = \"g1\"\n");
    const auto config = load_config(file.name());
    REQUIRE(config.placement.size() == 2);
    CHECK(config.placement[0].site == "Berlin");
    CHECK(config.placement[1].directory_group == "cn=sales,dc=test");
    CHECK(config.placement[1].group == "g1");
}

TEST_CASE("a placement rule that cannot hold is told with its line", "[config][placement]") {
    CHECK(faults("[[placement]]\nsite = \"Berlin\"\ngroup = \"g9\"\n") ==
          "12: there is no [[group]] with the name g9");
    CHECK(faults("[[placement]]\ngroup = \"g1\"\n") ==
          "10: [[placement]] needs one of site and directory_group, and not both");
    CHECK(faults("[[placement]]\nsite = \"x\"\ndirectory_group = \"cn=x\"\ngroup = \"g1\"\n") ==
          "10: [[placement]] needs one of site and directory_group, and not both");
    CHECK(faults("[[placement]]\ndirectory_group = \"sales\"\ngroup = \"g1\"\n")
              .starts_with("11: directory_group"));
    CHECK(faults("[[placement]]\nsite = \"Berlin\"\n") == "10: [[placement]] needs group");
    CHECK(faults("[[placement]]\nsite = \"Berlin\"\ngroup = \"g1\"\nsites = \"x\"\n")
              .starts_with("13: unknown key"));
}
