# THE table of ISA tiers: "name : processors (regex) : compiler flags".
# The order is the total order of csrc/core/cpu.h: a tier's kernels overwrite the entries of the tiers before it.
# Each tier is one sealed translation unit, csrc/kernels/isa/<name>.cpp (docs/dispatch.md says why it is sealed).
set(FASTCONV_ISA_TABLE
  "ref    : .*           : "
  "avx2   : x86_64|AMD64 : -mavx2 -mfma -mf16c"
  "avx512 : x86_64|AMD64 : -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c"
)
# Extensions: instruction sets that some processors of a tier have beside it. Rows, units and seals are those of tiers; an
# extension's kernels overwrite entries of its tier, where the processor has both.
set(FASTCONV_ISA_EXTENSIONS
  "avx_vnni    : x86_64|AMD64 : -mavxvnni -mavx2 -mfma -mf16c"
  "avx512_vnni : x86_64|AMD64 : -mavx512vnni -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c"
  "avx512_bf16 : x86_64|AMD64 : -mavx512bf16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c"
)
