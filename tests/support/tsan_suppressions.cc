// What ThreadSanitizer is told not to report. Debian's Protobuf is not built
// with it, so it does not see what orders the accesses in there.
#ifdef __SANITIZE_THREAD__
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libprotobuf.so\n";
}
#endif
