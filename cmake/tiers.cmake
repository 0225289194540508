# Reads the table of cmake/isa.cmake. fastconv_read_tiers() sets, of the rows that this processor family has and that
# FASTCONV_BUILD_TIERS does not leave out:
#   FASTCONV_TIERS            their names, parents first
#   FASTCONV_FLAGS_<name>     compiler flags of its unit, its parents' and definitions of its facts among them
# and writes what C++ includes as "core/tiers.def" to `folder`/core.
include(${CMAKE_CURRENT_LIST_DIR}/isa.cmake)

function(fastconv_read_tiers folder)
  set(names "")
  set(known "")  # rows of the table, those that are left out among them
  set(features "")
  set(rows "")
  foreach(row IN LISTS FASTCONV_ISA_TABLE)
    string(REGEX REPLACE " *: *" ";" fields "${row}")
    list(LENGTH fields count)
    if(NOT count EQUAL 7)
      message(FATAL_ERROR "cmake/isa.cmake: expected 7 fields in a row, got ${count} in '${row}'")
    endif()
    list(TRANSFORM fields REPLACE "^-$" "")
    list(POP_FRONT fields name kind parent processors needs facts flags)
    if(NOT kind MATCHES "^(tier|extension)$")
      message(FATAL_ERROR "cmake/isa.cmake: expected tier or extension as the kind of ${name}, got '${kind}'")
    endif()
    if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processors})$")
      continue()
    endif()
    if(known AND NOT parent IN_LIST known)
      message(FATAL_ERROR "cmake/isa.cmake: expected a parent of ${name} that comes before it, got '${parent}'")
    endif()
    list(APPEND known ${name})
    separate_arguments(needs UNIX_COMMAND "${needs}")
    separate_arguments(facts UNIX_COMMAND "${facts}")
    separate_arguments(flags UNIX_COMMAND "${flags}")
    list(APPEND features ${needs})
    if(FASTCONV_BUILD_TIERS AND NOT name IN_LIST FASTCONV_BUILD_TIERS)
      continue()
    endif()

    set(emulated false)
    if(FASTCONV_EMULATE_AVX512 AND name MATCHES "^avx512|^avx_vnni|^amx")
      set(emulated true)
      set(needs "")  # beyond avx2
      # -O1: a portable intrinsic is a loop, and -O3 on all of them takes minutes.
      set(flags -DFASTCONV_EMULATE_AVX512 -O1 -fno-tree-vectorize -Wno-psabi)
    endif()
    if(parent)
      list(APPEND flags ${FASTCONV_FLAGS_${parent}})
    else()
      set(parent ${name})
    endif()
    foreach(fact IN LISTS facts)
      string(TOUPPER ${fact} FACT)
      list(APPEND flags -DFASTCONV_${FACT})
    endforeach()

    set(bits 0)
    foreach(feature IN LISTS needs)
      string(APPEND bits " | bit(Feature::${feature})")
    endforeach()
    set(extension false)
    if(kind STREQUAL "extension")
      set(extension true)
    endif()
    string(APPEND rows "FC_TIER(${name}, ${parent}, ${extension}, ${emulated}, ${bits})\n")
    list(APPEND names ${name})
    set(FASTCONV_FLAGS_${name} ${flags})
    set(FASTCONV_FLAGS_${name} ${flags} PARENT_SCOPE)
  endforeach()

  list(REMOVE_DUPLICATES features)
  list(TRANSFORM features REPLACE "(.+)" "FC_FEATURE(\\1)\n" OUTPUT_VARIABLE lines)
  string(CONCAT text
    "// Made of cmake/isa.cmake by cmake/tiers.cmake. The includer defines\n"
    "//   FC_FEATURE(name)  and  FC_TIER(name, parent, extension, emulated, features)\n"
    "#ifdef FC_FEATURE\n" ${lines} "#endif\n" "#ifdef FC_TIER\n" ${rows} "#endif\n")
  file(CONFIGURE OUTPUT ${folder}/core/tiers.def CONTENT "${text}" @ONLY)  # untouched where it would not change
  set(FASTCONV_TIERS ${names} PARENT_SCOPE)
endfunction()
