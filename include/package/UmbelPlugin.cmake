# UmbelPlugin.cmake: how a plugin and its test are built. Part of the package Umbel; in the repository, plugins/ uses it too.

set(UMBEL_PLUGIN_MAP "${CMAKE_CURRENT_LIST_DIR}/plugin.map")

# umbel_add_plugin(NAME SOURCE… [LIBRARIES LIBRARY…])
# The target NAME: NAME.so in the current binary folder, C or C++ (at least C++23), which exports umbel_plugin_descriptor
# and nothing else, whatever is linked into it.
function(umbel_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LIBRARIES")
  if(NOT arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "umbel_add_plugin(${name}): name its source files: umbel_add_plugin(${name} ${name}.cpp)")
  endif()
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE Umbel::sdk ${arg_LIBRARIES})
  target_link_options(${name} PRIVATE "LINKER:--version-script=${UMBEL_PLUGIN_MAP}")
  set_target_properties(${name} PROPERTIES PREFIX "" LINK_DEPENDS "${UMBEL_PLUGIN_MAP}"
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(NOT CMAKE_CXX_STANDARD OR CMAKE_CXX_STANDARD LESS 23)
    set_target_properties(${name} PROPERTIES CXX_STANDARD 23 CXX_STANDARD_REQUIRED ON)
  endif()
endfunction()

# umbel_add_plugin_test(NAME PLUGIN PLUGIN SOURCES SOURCE… [LIBRARIES LIBRARY…])
# The GoogleTest program NAME, on the test kit, its cases known to ctest (after enable_testing()). UMBEL_PLUGIN_FILE is the
# path of the plugin's .so. Needs the component testkit.
function(umbel_add_plugin_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "PLUGIN" "SOURCES;LIBRARIES")
  if(NOT arg_PLUGIN OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "umbel_add_plugin_test(${name}): write umbel_add_plugin_test(${name} PLUGIN target SOURCES file…)")
  endif()
  if(NOT TARGET Umbel::testkit)
    message(FATAL_ERROR "umbel_add_plugin_test(${name}): write find_package(Umbel REQUIRED COMPONENTS testkit)")
  endif()
  find_package(GTest REQUIRED)
  include(GoogleTest)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE Umbel::testkit GTest::gtest_main ${arg_LIBRARIES})
  target_compile_definitions(${name} PRIVATE UMBEL_PLUGIN_FILE="$<TARGET_FILE:${arg_PLUGIN}>")
  add_dependencies(${name} ${arg_PLUGIN})
  if(NOT CMAKE_CXX_STANDARD OR CMAKE_CXX_STANDARD LESS 23)
    set_target_properties(${name} PROPERTIES CXX_STANDARD 23 CXX_STANDARD_REQUIRED ON)
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60)
endfunction()
