/* The handles that several headers use. Programs include mycelium.h, whose
   conventions hold here. */
#ifndef MYCELIUM_CAPI_MYCELIUM_HANDLES_H_
#define MYCELIUM_CAPI_MYCELIUM_HANDLES_H_

/* The name of a type and its digest, which both sides compare. */
typedef struct MyceliumType MyceliumType;

/* One service's end of the bus. */
typedef struct MyceliumRuntime MyceliumRuntime;

#endif /* MYCELIUM_CAPI_MYCELIUM_HANDLES_H_ */
