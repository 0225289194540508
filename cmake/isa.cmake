# THE table of instruction sets, a tree. A row is
#   name : kind : parent : processors (regex) : features : facts : compiler flags
# and - where there is nothing to say. Parents come before their children.
#
# A tier's kernels are those of its parent, but for what it overwrites in a table of its own. An extension is what some
# processors of a tier have beside it: it overwrites entries of its parent's table and has none itself. Features are what
# the processor must have besides the parent's, in the words of csrc/core/cpu_<family>.cpp; flags are what the compiler
# gets besides the parent's. Facts are what is true of the processors of a tier and is worth other code; for each one the
# unit is compiled with FASTCONV_<FACT>:
#   row_prefetch    rows of an image that come from L3 are worth asking for in advance (kernels/grouped_f32.inl.h)
#   cheap_permute   a permutation for each multiply-add costs nothing (conv/algo_direct.cpp)
#
# cmake/tiers.cmake makes of it what C++ knows of the tiers. Each row has a sealed translation unit,
# csrc/kernels/isa/<name>.cpp (docs/dispatch.md says why it is sealed).
set(FASTCONV_ISA_TABLE
  "ref         : tier      : -      : .*            : -             : - : -"
  "avx2        : tier      : ref    : x86_64|AMD64  : avx2 fma f16c : - : -mavx2 -mfma -mf16c"
  "avx_vnni    : extension : avx2   : x86_64|AMD64  : avx_vnni      : - : -mavxvnni"
  "avx512      : tier      : avx2   : x86_64|AMD64  : avx512f avx512bw avx512dq avx512vl avx512cd : row_prefetch cheap_permute : -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd"
  "avx512_vnni : extension : avx512 : x86_64|AMD64  : avx512_vnni   : - : -mavx512vnni"
  "avx512_vpopcntdq : extension : avx512 : x86_64|AMD64 : avx512_vpopcntdq : - : -mavx512vpopcntdq"
  "avx512_bf16 : extension : avx512 : x86_64|AMD64  : avx512_bf16   : - : -mavx512bf16"
  "amx_int8    : extension : avx512 : x86_64|AMD64  : avx512_vnni amx_tile amx_int8 : - : -"
  "amx_bf16    : extension : avx512 : x86_64|AMD64  : avx512_bf16 amx_tile amx_bf16 : - : -"
  "neon        : tier      : ref    : aarch64|arm64 : asimd         : - : -"
)
