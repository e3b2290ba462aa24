/* What the functions of mycelium.h return when something is wrong. Programs
   include mycelium.h, whose conventions hold here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_ERRORS_H_
#define MYCELIUM_CAPI_MYCELIUM_ERRORS_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t mycelium_status;
enum {
  MYCELIUM_OK = 0,
  MYCELIUM_INVALID_ARGUMENT = 3,
  MYCELIUM_DEADLINE_EXCEEDED = 4,
  MYCELIUM_NOT_FOUND = 5,
  MYCELIUM_ALREADY_EXISTS = 6,
  MYCELIUM_PERMISSION_DENIED = 7,
  MYCELIUM_RESOURCE_EXHAUSTED = 8,
  MYCELIUM_FAILED_PRECONDITION = 9,
  MYCELIUM_UNIMPLEMENTED = 12,
  MYCELIUM_INTERNAL = 13,
  MYCELIUM_UNAVAILABLE = 14,
  MYCELIUM_DATA_LOSS = 15
};

/* "INVALID_ARGUMENT"; "UNKNOWN" for a number that is none of the above. */
const char* mycelium_status_name(mycelium_status status);

/* The text of this thread's last error, without its code. Never NULL. */
const char* mycelium_last_error(void);

#define MYCELIUM_DIGEST_BYTES 32

/* Why two sides do not get each other's messages. */
typedef struct MyceliumSchemaMismatch {
  const char* topic;
  const char* type_name;
  const uint8_t* local_digest; /* MYCELIUM_DIGEST_BYTES each, or NULL */
  const uint8_t* remote_digest;
  const char* difference;  /* "Quote.price (4): double -> int64" */
  const char* remote_node; /* "" within one process */
} MyceliumSchemaMismatch;

/* What differs, if the last error is a FAILED_PRECONDITION for that reason;
   else NULL. Valid as long as mycelium_last_error(). */
const MyceliumSchemaMismatch* mycelium_last_schema_mismatch(void);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MYCELIUM_CAPI_MYCELIUM_ERRORS_H_ */
