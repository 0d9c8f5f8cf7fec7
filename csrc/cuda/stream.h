// Streams, page-locked memory and graphs. Under a C++ compiler streams are immediate and there are no graphs.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/device.h"

namespace llmcore::cuda {

// Empty if there is a device that this build has code for; otherwise why not, in one line.
std::string why_no_device();

// Makes `device` the calling thread's. A backend does so at the border: the engine's thread is not the
// loader's.
void use_device(int device);

Stream make_stream();
void destroy_stream(const Stream& stream) noexcept;

void* host_alloc(std::size_t bytes);  // throws Error(model) if there is no memory
void host_free(void* memory) noexcept;

bool graphs_available();
// What the stream is given between these two becomes a graph and is not run.
void begin_capture(const Stream& stream);
void* end_capture(const Stream& stream);
void abandon_capture(const Stream& stream) noexcept;
void launch_graph(const Stream& stream, void* executable);
void destroy_graph(void* executable) noexcept;

}  // namespace llmcore::cuda
