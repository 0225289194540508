"""The laboratory: what this machine can do, and how far from it a kernel, a network or another library is.

Each part imports those before it alone: :mod:`~fastconv.lab.machine` (the roofs, measured),
:mod:`~fastconv.lab.timing` (calls in turns), :mod:`~fastconv.lab.profile` (a network, layer by layer),
:mod:`~fastconv.lab.compare` (other libraries), :mod:`~fastconv.lab.sweeps` (experiments),
:mod:`~fastconv.lab.draw` (every picture) and :mod:`~fastconv.lab.report` (a page for a browser).

The names for users are in :mod:`fastconv.roofline`, :mod:`fastconv.profiler`, :mod:`fastconv.bench` and
:mod:`fastconv.sweep`.
"""
