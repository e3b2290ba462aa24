#include "mycelium/codec/frame_encoder.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian and are read in place"
#endif
