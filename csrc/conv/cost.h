// L4 conv: what the algorithms are estimated to take for one image, in cycles, and which of them
// accept, for those that have to beat others. Used by algo_winograd.cpp, algo_planar_direct.cpp,
// algo_sparse_panels.cpp, algo_sparse_planes.cpp, algo_codebook.cpp and algo_bf16.cpp.
#pragma once
#include <string>

#include "core/shape.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// The form with m x m outputs for a kernel of r x r, or null.
const WinogradForm* winograd_form(const KernelTable& table, int m, dim_t r);
// Why Winograd's form with m x m outputs does not accept, or empty.
std::string winograd_rejects(const ConvParams& p, int m, const KernelTable& table);

double direct_cycles(const ConvShape& s, int lanes);
// Of planes: by a weight times a row of pixels, and by what multiplies otherwise.
double planar_direct_cycles(const ConvShape& s, int lanes);
double planar_cycles(const ConvShape& s, int lanes);
double winograd_cycles(const ConvShape& s, const WinogradForm& f, int lanes);
double packing_cycles(const ConvShape& s, dim_t floats);
// The best of the algorithms that multiply zeros.
double dense_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table);
double sparse_panels_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table);
// Of the panels that are the fastest for weights with these zeros.
int sparse_panel_width(const Zeros& zeros, const KernelTable& table);
double sparse_planes_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table);

// What looks up the weights of a layer, whose different values are known.
const CodebookTable& codebook_of(const ConvParams& p, const KernelTable& table);
double codebook_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table);

// Of x rounded to bf16, and products of which there are `gain` times as many a cycle as of f32.
double bf16_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table, double gain);

// Of weights [oc][ic / groups][taps], or transposed [ic][oc / groups][taps].
Zeros count_zeros(const ConvParams& p, const float* w);
// Different values among the weights, or 0 where a codebook has no room for them.
int count_values(const ConvParams& p, const float* w);
// A reason: "3 % of its weights are zeros, it takes 50 %".
std::string zeros_below(double share, const char* of_what, double least);

}  // namespace fastconv
