/* What the C tests check with: a failed CHECK names its line and ends the
   program, so that nothing after it has to cope. */
#ifndef MYCELIUM_CAPI_CHECK_H_
#define MYCELIUM_CAPI_CHECK_H_

#include <stdio.h>
#include <stdlib.h>

#include "mycelium/capi/mycelium.h"

#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) {                                                 \
      fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, \
              __LINE__, #condition, mycelium_last_error());             \
      exit(1);                                                          \
    }                                                                   \
  } while (0)

#define CHECK_STATUS(call, expected)                                       \
  do {                                                                     \
    const mycelium_status got_ = (call);                                   \
    if (got_ != (expected)) {                                              \
      fprintf(stderr, "%s:%d: %s: %s is %s, expected %s\n", __FILE__,      \
              __LINE__, #call, mycelium_last_error(),                      \
              mycelium_status_name(got_), mycelium_status_name(expected)); \
      exit(1);                                                             \
    }                                                                      \
  } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, MYCELIUM_OK)

#endif /* MYCELIUM_CAPI_CHECK_H_ */
