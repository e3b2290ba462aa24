#ifndef TESTS_SUPPORT_CERTIFICATES_H_
#define TESTS_SUPPORT_CERTIFICATES_H_

#include <string>
#include <vector>

namespace mycelium::test {

// A certificate authority for one test, and what it signs, as PEM files.
class CertificateAuthority final {
 public:
  // Writes its own certificate to `path`.
  explicit CertificateAuthority(const std::string& path);
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;
  ~CertificateAuthority();

  // Writes a new key and a certificate for these names ("feed.test",
  // "127.0.0.1"). The certificate is valid from now on for `seconds`; if that
  // is negative, its validity ended that long ago. Replaces both files as a
  // program that renews them would: each by renaming.
  void Issue(const std::vector<std::string>& names,
             const std::string& certificate_path, const std::string& key_path,
             long seconds = 3600);

 private:
  void* key_;          // EVP_PKEY
  void* certificate_;  // X509
};

}  // namespace mycelium::test

#endif  // TESTS_SUPPORT_CERTIFICATES_H_
