# THE table of ISA tiers: "name : processors (regex) : compiler flags".
# The order is the total order of csrc/core/cpu.h: a tier's kernels overwrite the entries of the tiers before it.
# Each tier is one sealed translation unit, csrc/kernels/isa/<name>.cpp (docs/dispatch.md says why it is sealed).
set(FASTCONV_ISA_TABLE
  "ref    : .*           : "
  "avx2   : x86_64|AMD64 : -mavx2 -mfma -mf16c"
  "avx512 : x86_64|AMD64 : -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c"
)
