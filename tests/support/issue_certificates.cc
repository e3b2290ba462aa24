// issue_certificates FOLDER NAME...: makes a certificate authority and signs
// certificates for these names ("127.0.0.1", "feed.test"), for tests that are
// not C++. It writes ca.pem, and for each name NAME.pem and NAME.key.

#include <cstdio>
#include <string>

#include "tests/support/certificates.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s FOLDER NAME...\n", argv[0]);
    return 2;
  }
  const std::string folder = argv[1];
  mycelium::test::CertificateAuthority authority(folder + "/ca.pem");
  for (int i = 2; i < argc; ++i) {
    const std::string path = folder + "/" + argv[i];
    authority.Issue({argv[i]}, path + ".pem", path + ".key");
  }
  return 0;
}
