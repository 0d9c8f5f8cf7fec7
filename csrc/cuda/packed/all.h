// Every packed format.
#pragma once

#include "cuda/packed/float16.h"
#include "cuda/packed/iq4_nl.h"
#include "cuda/packed/iq4_xs.h"
#include "cuda/packed/mxfp4.h"
#include "cuda/packed/packed.h"
#include "cuda/packed/q4_0.h"
#include "cuda/packed/q4_1.h"
#include "cuda/packed/q4_k.h"
#include "cuda/packed/q5_0.h"
#include "cuda/packed/q5_1.h"
#include "cuda/packed/q5_k.h"
#include "cuda/packed/q6_k.h"
#include "cuda/packed/q8_0.h"
#include "cuda/packed/s8x16.h"
