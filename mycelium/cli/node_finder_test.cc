#include "mycelium/cli/node_finder.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/short_temp_dir.h"

namespace mycelium {
namespace {

using ::testing::ElementsAre;

// Says that a user looks at what another one owns.
class OtherUsersSys final : public Sys {
 public:
  OtherUsersSys(int64_t self, int64_t owner) : self_(self), owner_(owner) {}

  int64_t GetEffectiveUid() override { return self_; }
  int64_t Lstat(const char* path, struct stat* out) override {
    const int64_t looked = Sys::Lstat(path, out);
    out->st_uid = static_cast<uid_t>(owner_);
    return looked;
  }

 private:
  const int64_t self_;
  const int64_t owner_;
};

class NodeFinderTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.file(name)) << text;
    return dir_.file(name);
  }
  absl::StatusOr<HostView> Find(const StatusOptions& options,
                                Sys& sys = Sys::Real()) {
    return FindNodes(
        sys,
        [this](const std::string& name) -> std::optional<std::string> {
          if (name == "XDG_RUNTIME_DIR") return dir_.path();
          return std::nullopt;
        },
        options);
  }
  std::vector<std::string> Names(const StatusOptions& options) {
    const absl::StatusOr<HostView> view = Find(options);
    EXPECT_TRUE(view.ok()) << view.status();
    std::vector<std::string> names;
    if (view.ok()) {
      for (const SeenNode& node : view->nodes) names.push_back(node.name);
    }
    return names;
  }

  test::ShortTempDir dir_;
};

TEST_F(NodeFinderTest, SocketsOfTheDirectoryAreFoundInOrder) {
  for (const char* name : {"b.sock", "a.sock", "a.txt", ".sock", "sock"}) {
    Write(name, "");
  }
  StatusOptions options;
  options.socket_dir = dir_.path() + "/";
  EXPECT_THAT(Names(options), ElementsAre("a", "b"));
  EXPECT_EQ(Find(options)->nodes[0].path, dir_.file("a.sock"));
}

TEST_F(NodeFinderTest, DirectoryThatIsNotThereHasNobody) {
  EXPECT_TRUE(Names(StatusOptions()).empty());
  EXPECT_EQ(Find(StatusOptions())->socket_dir, dir_.path() + "/mycelium");
  EXPECT_TRUE(Find(StatusOptions())->is_default_dir);
}

TEST_F(NodeFinderTest, DirectoryThatIsNoneIsAnError) {
  StatusOptions options;
  options.socket_dir = Write("file", "");
  EXPECT_FALSE(Find(options).ok());
}

// Says that a directory has so many files.
class FullDirectorySys final : public Sys {
 public:
  FullDirectorySys(size_t files, const std::string& suffix)
      : files_(files), suffix_(suffix) {}

  int64_t ReadDirectory(const char*, size_t names_max,
                        std::vector<std::string>* names) override {
    for (size_t i = 0; i < std::min(files_, names_max); ++i) {
      names->push_back(absl::StrCat(i, suffix_));
    }
    return static_cast<int64_t>(names->size());
  }

 private:
  const size_t files_;
  const std::string suffix_;
};

TEST_F(NodeFinderTest, SocketsThatAreTooManyAreSaidToBeLeftOut) {
  StatusOptions options;
  options.socket_dir = dir_.path();
  FullDirectorySys full(kSocketsMax, ".sock");
  EXPECT_EQ(Find(options, full)->nodes.size(), kSocketsMax);
  EXPECT_EQ(Find(options, full)->left_out, "");
  FullDirectorySys overfull(kSocketsMax + 1, ".sock");
  EXPECT_EQ(Find(options, overfull)->nodes.size(), kSocketsMax);
  EXPECT_EQ(Find(options, overfull)->left_out,
            "it has 1025 sockets, of which 1024 are asked");
  options.nodes = {"0"};
  EXPECT_EQ(Find(options, overfull)->left_out, "");
}

TEST_F(NodeFinderTest, SocketsOfTheTopologyAreNoneTooMany) {
  StatusOptions options;
  options.topology =
      Write("t.toml", absl::StrCat("socket_dir = \"", dir_.path(), "\"\n",
                                   "[[nodes]]\nname = \"0\"\n",
                                   "[[nodes]]\nname = \"1\"\n"));
  FullDirectorySys full(kSocketsMax + 2, ".sock");
  EXPECT_EQ(Find(options, full)->nodes.size(), kSocketsMax + 2);
  EXPECT_EQ(Find(options, full)->left_out, "");
}

TEST_F(NodeFinderTest, FilesThatAreTooManyAreSaidToBeLeftOut) {
  StatusOptions options;
  options.socket_dir = dir_.path();
  FullDirectorySys full(kFilesMax, ".txt");
  EXPECT_EQ(Find(options, full)->left_out, "");
  FullDirectorySys overfull(kFilesMax + 1, ".txt");
  EXPECT_EQ(Find(options, overfull)->left_out, "it has more than 65536 files");
}

TEST_F(NodeFinderTest, DirectoryOfAnotherUserIsRefusedToAllButRoot) {
  StatusOptions options;
  options.socket_dir = dir_.path();
  OtherUsersSys stranger(1000, 1001);
  EXPECT_EQ(Find(options, stranger).status(),
            absl::PermissionDeniedError(absl::StrCat(
                "socket_dir ", dir_.path(),
                ": belongs to uid 1001, not to uid 1000 or root")));
  OtherUsersSys owner(1000, 1000);
  EXPECT_TRUE(Find(options, owner).ok());
  OtherUsersSys of_root(1000, 0);
  EXPECT_TRUE(Find(options, of_root).ok());
  OtherUsersSys root(0, 1001);
  EXPECT_TRUE(Find(options, root).ok());
  options.topology =
      Write("t.toml", "allow_uids = [1000, 1001]\n[[nodes]]\nname = \"a\"\n");
  EXPECT_TRUE(Find(options, stranger).ok());
  // Who names paths does not need it.
  options.topology.clear();
  options.nodes = {"/elsewhere/d.sock"};
  EXPECT_TRUE(Find(options, stranger).ok());
  options.nodes.push_back("a");
  EXPECT_FALSE(Find(options, stranger).ok());
}

TEST_F(NodeFinderTest, TopologySaysWhoListensWhereAndWhoCannotBeAsked) {
  Write("stranger.sock", "");
  StatusOptions options;
  options.topology = Write(
      "t.toml",
      absl::StrCat("socket_dir = \"", dir_.path(),
                   "\"\ninsecure = true\n"
                   "[[nodes]]\nname = \"feed\"\nhost = \"h\"\nport = 1\n"
                   "[[nodes]]\nname = \"brain\"\nhost = \"h\"\nport = 2\n"
                   "endpoint = { kind = \"unix\", addr = \"/run/b.sock\" }\n"
                   "[[nodes]]\nname = \"far\"\nhost = \"g\"\nport = 3\n"));
  const absl::StatusOr<HostView> view = Find(options);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->topology_digest.size(), 32u);
  ASSERT_THAT(Names(options), ElementsAre("feed", "brain", "far", "stranger"));
  EXPECT_EQ(view->nodes[0].path, dir_.file("feed.sock"));
  EXPECT_EQ(view->nodes[0].host, "h");
  EXPECT_EQ(view->nodes[1].path, "/run/b.sock");
  EXPECT_EQ(view->nodes[2].state, NodeState::kNotAsked);
  EXPECT_EQ(
      view->nodes[2].why,
      "it is on host g, and has no peer there, and so no socket; an endpoint "
      "of kind shm would be one");
  EXPECT_TRUE(view->nodes[2].in_topology);
  EXPECT_FALSE(view->nodes[3].in_topology);
}

TEST_F(NodeFinderTest, GivenDirectoryTakesThePlaceOfTheFiles) {
  StatusOptions options;
  options.topology =
      Write("t.toml",
            "socket_dir = \"/run/m\"\n"
            "[[nodes]]\nname = \"a\"\n[[nodes]]\nname = \"b\"\n");
  EXPECT_EQ(Find(options)->nodes[0].path, "/run/m/a.sock");
  EXPECT_FALSE(Find(options)->is_default_dir);
  const std::string digest = Find(options)->topology_digest;
  options.socket_dir = dir_.path();
  EXPECT_EQ(Find(options)->nodes[0].path, dir_.file("a.sock"));
  EXPECT_FALSE(Find(options)->is_default_dir);
  // The nodes run with the file as it is.
  EXPECT_EQ(Find(options)->topology_digest, digest);
}

TEST_F(NodeFinderTest, FileWithoutADirectoryHasTheDefaultUnlessOneIsGiven) {
  StatusOptions options;
  options.topology =
      Write("t.toml", "[[nodes]]\nname = \"a\"\n[[nodes]]\nname = \"b\"\n");
  EXPECT_TRUE(Find(options)->is_default_dir);
  options.socket_dir = dir_.path();
  EXPECT_FALSE(Find(options)->is_default_dir);
}

TEST_F(NodeFinderTest, NodeWithoutLocalPeerOrEndpointHasNoSocket) {
  StatusOptions options;
  options.topology = Write("t.toml", "[[nodes]]\nname = \"one\"\n");
  EXPECT_EQ(Find(options)->nodes[0].state, NodeState::kNotAsked);
  Write("t.toml", "[[nodes]]\nname = \"one\"\nendpoint = { kind = \"shm\" }\n");
  EXPECT_EQ(Find(options)->nodes[0].state, NodeState::kNotRunning);
  EXPECT_EQ(Find(options)->nodes[0].path, dir_.path() + "/mycelium/one.sock");
}

TEST_F(NodeFinderTest, WrongFileIsItsError) {
  StatusOptions options;
  options.topology = Write("t.toml", "[[node]]\n");
  EXPECT_EQ(Find(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NodeFinderTest, NamedNodesAreTheOnlyOnes) {
  Write("a.sock", "");
  Write("b.sock", "");
  StatusOptions options;
  options.socket_dir = dir_.path();
  options.nodes = {"b", "c", "/elsewhere/d.sock", "b", dir_.file("b.sock")};
  const absl::StatusOr<HostView> view = Find(options);
  ASSERT_EQ(view->nodes.size(), 3u);
  EXPECT_EQ(view->nodes[0].path, dir_.file("b.sock"));
  EXPECT_EQ(view->nodes[1].path, dir_.file("c.sock"));
  EXPECT_EQ(view->nodes[2].path, "/elsewhere/d.sock");
}

}  // namespace
}  // namespace mycelium
