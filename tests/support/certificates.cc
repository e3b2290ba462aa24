#include "tests/support/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>

#include "gtest/gtest.h"

namespace mycelium::test {
namespace {

constexpr long kDay = 24 * 3600;

// The file is complete under another name before it appears at `path`.
template <typename Write>
void WriteFile(const std::string& path, Write write) {
  const std::string fresh = path + ".new";
  FILE* const file = std::fopen(fresh.c_str(), "w");
  ASSERT_NE(file, nullptr) << fresh;
  EXPECT_EQ(write(file), 1);
  std::fclose(file);
  EXPECT_EQ(std::rename(fresh.c_str(), path.c_str()), 0);
}

void WriteCertificate(X509* certificate, const std::string& path) {
  WriteFile(path,
            [&](FILE* file) { return PEM_write_X509(file, certificate); });
}

void AddExtension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// A certificate without issuer, signature and names.
X509* Blank(EVP_PKEY* key, const std::string& subject, long from, long until) {
  X509* const certificate = X509_new();
  X509_set_version(certificate, 2);
  uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), from);
  X509_gmtime_adj(X509_getm_notAfter(certificate), until);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(
      X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
      reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
  return certificate;
}

bool IsAddress(const std::string& name) {
  return name.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& path) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = Blank(key, "authority of a test", -kDay, kDay);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  EXPECT_NE(X509_sign(certificate, key, EVP_sha256()), 0);
  WriteCertificate(certificate, path);
  key_ = key;
  certificate_ = certificate;
}

CertificateAuthority::~CertificateAuthority() {
  EVP_PKEY_free(static_cast<EVP_PKEY*>(key_));
  X509_free(static_cast<X509*>(certificate_));
}

void CertificateAuthority::Issue(const std::vector<std::string>& names,
                                 const std::string& certificate_path,
                                 const std::string& key_path, long seconds) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = Blank(key, names[0], -kDay, seconds);
  X509_set_issuer_name(certificate,
                       X509_get_subject_name(static_cast<X509*>(certificate_)));
  std::string alternatives;
  for (const std::string& name : names) {
    if (!alternatives.empty()) alternatives += ",";
    alternatives += (IsAddress(name) ? "IP:" : "DNS:") + name;
  }
  AddExtension(certificate, NID_subject_alt_name, alternatives);
  EXPECT_NE(X509_sign(certificate, static_cast<EVP_PKEY*>(key_), EVP_sha256()),
            0);
  WriteCertificate(certificate, certificate_path);
  WriteFile(key_path, [&](FILE* file) {
    return PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr,
                                nullptr);
  });
  X509_free(certificate);
  EVP_PKEY_free(key);
}

}  // namespace mycelium::test
