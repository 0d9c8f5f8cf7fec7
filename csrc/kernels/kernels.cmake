# From kernel_sources: one object library an instruction set, and the list of descriptors.
# A file <op>_<format>[_<variant>]_<isa>.cpp defines the descriptor of the same name; nothing else names it.
set(all_isas scalar avx2 avxvnni avx512 amx neon dotprod i8mm)
set(isa_flags_scalar "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(isa_flags_avx2 -mavx2 -mfma -mf16c -mbmi2)
  set(isa_flags_avxvnni ${isa_flags_avx2} -mavxvnni)
  set(isa_flags_avx512 ${isa_flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vnni
      -mprefer-vector-width=512)
  set(isa_flags_amx ${isa_flags_avx512} -mavx512bf16 -mamx-tile -mamx-int8 -mamx-bf16)
  set(known_isas scalar avx2 avxvnni avx512)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-mamx-bf16 LLMCORE_COMPILER_HAS_AMX)  # GCC from 11 on
  if(LLMCORE_COMPILER_HAS_AMX)
    list(APPEND known_isas amx)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  set(isa_flags_neon "")  # every AArch64 has it
  set(isa_flags_dotprod -march=armv8.2-a+dotprod)
  set(isa_flags_i8mm -march=armv8.2-a+dotprod+i8mm)
  set(known_isas scalar neon dotprod i8mm)
else()
  set(known_isas scalar)
endif()

# GCC 11 and 12 warn about their own headers' _mm512_undefined_*() (GCC bug 105593).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(isa_warnings -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(LLMCORE_KERNEL_ISAS "" CACHE STRING "Instruction sets to compile kernels for, as scalar;avx2; none: all")
string(REPLACE ";" "|" chosen_isas "${LLMCORE_KERNEL_ISAS}")
foreach(isa IN LISTS LLMCORE_KERNEL_ISAS)
  if(NOT isa IN_LIST all_isas)
    message(FATAL_ERROR "LLMCORE_KERNEL_ISAS: '${isa}' is no known instruction set; expected some of ${all_isas}")
  endif()
endforeach()
set(compiled_isas ${known_isas})
if(LLMCORE_KERNEL_ISAS)
  list(FILTER compiled_isas INCLUDE REGEX "^(scalar|${chosen_isas})$")
endif()

set(kernel_objects "")
set(kernel_declarations "")
set(kernel_entries "")
foreach(source IN LISTS kernel_sources)
  cmake_path(GET source STEM kernel)
  string(REGEX MATCH "[^_]+$" isa "${kernel}")
  if(NOT isa IN_LIST all_isas)
    message(FATAL_ERROR "kernel file ${source}: the last part of the name, '${isa}', is no known instruction set")
  endif()
  if(isa IN_LIST known_isas)
    list(APPEND sources_${isa} ${source})
  endif()
  if(isa IN_LIST compiled_isas)
    string(APPEND kernel_declarations "extern constinit const Kernel ${kernel};\n")
    string(APPEND kernel_entries "    &${kernel},\n")
  endif()
endforeach()

foreach(isa IN LISTS compiled_isas)
  if(sources_${isa})
    add_library(llmcore_kernels_${isa} OBJECT ${sources_${isa}})
    set_target_properties(llmcore_kernels_${isa} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden)
    target_link_libraries(llmcore_kernels_${isa} PRIVATE llmcore_options)
    # No contraction behind the author's back: a kernel writes the fused operations it means.
    target_compile_options(llmcore_kernels_${isa} PRIVATE ${isa_flags_${isa}} ${isa_warnings} -ffp-contract=off)
    # A fifth of the time that they take to compile. ARM's header is small.
    if(isa_flags_avx2 AND NOT isa STREQUAL "scalar")
      target_precompile_headers(llmcore_kernels_${isa} PRIVATE <immintrin.h>)
    endif()
    # Unrolled loops full of checks take minutes to compile: calls of checks take half of them.
    if(LLMCORE_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(llmcore_kernels_${isa} PRIVATE --param=asan-instrumentation-with-call-threshold=0)
    endif()
    list(APPEND kernel_objects $<TARGET_OBJECTS:llmcore_kernels_${isa}>)
  endif()
endforeach()

# Files that hold nothing but a name take as long as their headers: together, half the time.
option(LLMCORE_UNITE_KERNELS "Compile ARM's kernels of quantized formats together, for quick tests" OFF)
foreach(isa IN ITEMS neon dotprod i8mm)
  if(LLMCORE_UNITE_KERNELS AND TARGET llmcore_kernels_${isa})
    set(united ${sources_${isa}})
    list(FILTER united INCLUDE REGEX "/linear_(q|iq|tq|mxfp)[^/]*$")
    set_source_files_properties(${united} PROPERTIES UNITY_GROUP quantized)
    set_target_properties(llmcore_kernels_${isa} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  endif()
endforeach()

file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/kernel_list.inc CONTENT
"// Generated from the names of the files in kernels/cpu.
namespace llmcore {
${kernel_declarations}
constexpr const Kernel* kKernelList[] = {
${kernel_entries}};
}  // namespace llmcore
")
