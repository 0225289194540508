// L6 bindings: arrays of a codebook in Huffman codes; python/fastconv/graph/coding.py is the caller.
#include "bindings/bind.h"
#include "coding/huffman.h"
#include "core/check.h"

namespace py = pybind11;

namespace fastconv {
namespace {

void decode_into(const py::array& coded, int entries, int gaps, const py::array& out) {
  const View bytes = byte_view("coded", coded);
  FC_CHECK(bytes.rank == 1 && (bytes.stride[0] == 1 || bytes.shape[0] <= 1), ShapeError,
           "coded: expected a contiguous vector of bytes, got ", shape_string(bytes));
  FC_CHECK(out.writeable() && (out.flags() & py::array::c_style) != 0, ArgumentError,
           "out: expected a writable C-contiguous array");
  const std::span<const uint8_t> given(static_cast<const uint8_t*>(bytes.data),
                                       static_cast<size_t>(bytes.shape[0]));
  void* const data = out.size() > 0 ? const_cast<void*>(out.data()) : nullptr;
  FC_CHECK(reinterpret_cast<uintptr_t>(data) % 4 == 0, ArgumentError, "out: expected aligned data");
  const GilRelease unlocked;
  decode({given, entries, gaps}, data, out.size(), static_cast<int>(out.itemsize()));
}

}  // namespace

void bind_coding(py::module_& m) {
  m.attr("CODE_BITS") = kCodeBits;
  m.attr("STREAM_VALUES") = kStreamValues;
  m.attr("MAX_SYMBOLS") = kMaxSymbols;
  m.def("decode", &decode_into, py::arg("coded"), py::arg("entries"), py::arg("gaps"),
        py::arg("out"), "Write the array that `coded` holds to `out` (docs/format.md).");
}

}  // namespace fastconv
