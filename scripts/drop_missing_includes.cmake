# Included by project() through -DCMAKE_PROJECT_INCLUDE. The message packages from wheels export an include
# folder of the machine they were built on, and CMake refuses a target that names a missing folder.
function(tam_ros_drop_missing_includes)
  get_property(targets DIRECTORY "${CMAKE_SOURCE_DIR}" PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT includes)
      continue()
    endif()
    set(present "")
    foreach(include IN LISTS includes)
      # Relative entries are generator expressions; CMake judges those itself.
      if(NOT IS_ABSOLUTE "${include}" OR EXISTS "${include}")
        list(APPEND present "${include}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
  endforeach()
endfunction()

# Deferred to the end of the configuration, when every find_package() has made its targets.
cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL tam_ros_drop_missing_includes)
