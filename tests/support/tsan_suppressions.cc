// The reports that ThreadSanitizer suppresses. Debian's Protobuf and Abseil are
// not built with it, so it does not see what orders the accesses in them: the
// first use of a type, and the count of owners of a status.
#ifdef __SANITIZE_THREAD__
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libprotobuf.so\n"
         "race:status_internal::Payload\n"
         "race:Status::Unref\n";
}
#endif
