# Copyright the tam_ros maintainers
# SPDX-License-Identifier: Apache-2.0

# Included by project() through -DCMAKE_PROJECT_INCLUDE: lets this package build against ROS from wheels that
# are in a virtual environment inside the source tree. Not used where ROS itself is installed.
#
# - Imported message targets name an include folder of the machine the wheels were built on; CMake refuses a
#   target that names a missing folder.
# - Our own exported targets name numpy's include folder, which is below our source tree; CMake refuses to
#   export that, unless it is marked as used by this build only.
function(tam_ros_mend_include_folders)
  get_property(imported DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  get_property(own DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS imported own)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      continue()
    endif()
    set(mended "")
    foreach(folder IN LISTS folders)
      # Relative entries are generator expressions, which CMake judges itself.
      if(IS_ABSOLUTE "${folder}" AND NOT EXISTS "${folder}")
        continue()
      endif()
      string(FIND "${folder}" "${CMAKE_SOURCE_DIR}/" at)
      if(target IN_LIST own AND at EQUAL 0)
        set(folder "$<BUILD_INTERFACE:${folder}>")
      endif()
      list(APPEND mended "${folder}")
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${mended}")
  endforeach()
endfunction()

# Deferred to the end of the configuration, when every target exists.
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL tam_ros_mend_include_folders)
