// AMX tiles as functions on eight tiles a thread.
#pragma once

#include <immintrin.h>

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud

namespace llmcore {

void _tile_loadconfig(const void* config);
void _tile_release();
void _tile_zero(int tile);
void _tile_loadd(int tile, const void* base, long stride);
void _tile_stream_loadd(int tile, const void* base, long stride);
void _tile_stored(int tile, void* base, long stride);
void _tile_dpbf16ps(int sum, int a, int b);
void _tile_dpbssd(int sum, int a, int b);
void _tile_dpbsud(int sum, int a, int b);
void _tile_dpbusd(int sum, int a, int b);
void _tile_dpbuud(int sum, int a, int b);

}  // namespace llmcore
