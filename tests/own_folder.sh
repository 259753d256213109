# The folder that a test works in and empties first: ctest made it for the test, in BUILD/tests. Ends a script (that sources
# this) that somebody has called from another folder, before it removes what is there.
if [ ! -f ../../CMakeCache.txt ]; then
    echo "error: $PWD is no test's folder and would be emptied; call tests/run.sh --only NAME" >&2
    exit 2
fi
rm -rf ./*
