/* What mycelium.h promises between machines. argv: a program that issues
   certificates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mycelium/capi/check.h"
#include "mycelium/capi/mycelium.h"

static const uint8_t kDigest[MYCELIUM_DIGEST_BYTES] = {1};

static MyceliumRuntime* Make(const MyceliumRuntimeOptions* options) {
  MyceliumRuntime* const runtime = mycelium_runtime_create(options);
  CHECK(runtime != NULL);
  return runtime;
}

/* One message each way, and both ledgers. */
static void Exchange(MyceliumRuntime* one, MyceliumRuntime* other) {
  MyceliumRuntime* const runtimes[] = {one, other};
  MyceliumType* const type =
      mycelium_type_create("plant.Reading", kDigest, sizeof kDigest);
  for (int i = 0; i < 2; ++i) {
    MyceliumSubscriber* const readings =
        mycelium_subscriber_create(runtimes[1 - i], type, NULL);
    MyceliumPublisher* const publisher =
        mycelium_publisher_create(runtimes[i], type, NULL, NULL);
    CHECK(readings != NULL && publisher != NULL);
    CHECK_OK(mycelium_publisher_wait_for_subscribers(publisher, 1, kLongMs));
    CHECK_OK(mycelium_publisher_publish(publisher, "81.5", 4));
    const MyceliumMessage* message;
    CHECK_OK(mycelium_subscriber_receive(readings, kLongMs, &message));
    CHECK(message->size == 4 && memcmp(message->data, "81.5", 4) == 0);
    CHECK_OK(mycelium_subscriber_finish(readings));
    CHECK_OK(mycelium_runtime_flush(runtimes[i], kLongMs));
    mycelium_publisher_destroy(publisher);
    mycelium_subscriber_destroy(readings);
  }
  mycelium_type_destroy(type);
  for (int i = 0; i < 2; ++i) {
    MyceliumStats stats = MYCELIUM_STATS_INIT;
    CHECK_OK(mycelium_runtime_stats(runtimes[i], &stats));
    CHECK(stats.accepted == 1 && stats.delivered == 1);
    CHECK(stats.dropped == 0 && stats.in_flight == 0);
  }
}

static void TestBothEndsPublishOverLoopback(void) {
  MyceliumRuntime* const listening = Make(NULL);
  MyceliumRuntime* const dialling = Make(NULL);
  int32_t port = 0;
  CHECK_OK(mycelium_runtime_listen_grpc(listening, "127.0.0.1:0", &port));
  CHECK(port > 0);
  char address[64];
  snprintf(address, sizeof address, "127.0.0.1:%d", (int)port);
  CHECK_STATUS(mycelium_runtime_listen_grpc(dialling, address, NULL),
               MYCELIUM_ALREADY_EXISTS);
  CHECK_OK(mycelium_runtime_connect_grpc(dialling, address));
  Exchange(listening, dialling);
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
}

static void TestInTheClearBeyondThisMachineIsRefusedUnlessToldOtherwise(void) {
  MyceliumRuntime* const careful = Make(NULL);
  CHECK_STATUS(mycelium_runtime_listen_grpc(careful, "0.0.0.0:0", NULL),
               MYCELIUM_FAILED_PRECONDITION);
  CHECK(strstr(mycelium_last_error(), "insecure") != NULL);
  mycelium_runtime_destroy(careful);
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.insecure = 1;
  MyceliumRuntime* const bold = Make(&options);
  CHECK_OK(mycelium_runtime_listen_grpc(bold, "0.0.0.0:0", NULL));
  mycelium_runtime_destroy(bold);
}

static void TestPortThatIsNoneIsRefused(void) {
  MyceliumRuntime* const runtime = Make(NULL);
  /* port: no port has that number */
  CHECK_STATUS(mycelium_runtime_listen_grpc(runtime, "localhost:65536", NULL),
               MYCELIUM_INVALID_ARGUMENT);
  /* port: nor of this */
  CHECK_STATUS(mycelium_runtime_connect_grpc(runtime, "localhost:65536"),
               MYCELIUM_INVALID_ARGUMENT);
  CHECK_STATUS(mycelium_runtime_connect_grpc(runtime, "localhost"),
               MYCELIUM_INVALID_ARGUMENT);
  CHECK(strstr(mycelium_last_error(), "host:port") != NULL);
  mycelium_runtime_destroy(runtime);
}

static void TestCertificatesAreUsed(const char* issue_certificates) {
  char folder[] = "/tmp/myc-capi-XXXXXX";
  CHECK(mkdtemp(folder) != NULL);
  char command[512];
  snprintf(command, sizeof command, "%s %s localhost", issue_certificates,
           folder);
  CHECK(system(command) == 0);
  char ca[64], certificate[64], key[64];
  snprintf(ca, sizeof ca, "%s/ca.pem", folder);
  snprintf(certificate, sizeof certificate, "%s/localhost.pem", folder);
  snprintf(key, sizeof key, "%s/localhost.key", folder);
  MyceliumRuntimeOptions options = MYCELIUM_RUNTIME_OPTIONS_INIT;
  options.tls_certificate = certificate;
  MyceliumRuntime* const without_key = Make(&options);
  CHECK_STATUS(mycelium_runtime_listen_grpc(without_key, "localhost:0", NULL),
               MYCELIUM_INVALID_ARGUMENT);
  mycelium_runtime_destroy(without_key);
  options.tls_key = key;
  options.tls_ca = ca;
  options.tls_require_client_certificate = 1;
  MyceliumRuntime* const listening = Make(&options);
  MyceliumRuntime* const dialling = Make(&options);
  int32_t port = 0;
  CHECK_OK(mycelium_runtime_listen_grpc(listening, "localhost:0", &port));
  char address[64];
  snprintf(address, sizeof address, "localhost:%d", (int)port);
  CHECK_OK(mycelium_runtime_connect_grpc(dialling, address));
  Exchange(listening, dialling);
  mycelium_runtime_destroy(dialling);
  mycelium_runtime_destroy(listening);
  snprintf(command, sizeof command, "rm -r %s", folder);
  CHECK(system(command) == 0);
}

int main(int argc, char** argv) {
  CHECK(argc == 2);
  TestBothEndsPublishOverLoopback();
  TestInTheClearBeyondThisMachineIsRefusedUnlessToldOtherwise();
  TestPortThatIsNoneIsRefused();
  TestCertificatesAreUsed(argv[1]);
  return 0;
}
