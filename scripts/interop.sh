#!/bin/sh
# Holds what ccctl makes against TensorFlow itself: SavedModels, plain and
# optimised, and ssl.cfg. TensorFlow is installed into a virtual environment in
# INTEROP_DIR, which is kept for the next time; CC_TENSORFLOW_PYTHON names an
# interpreter that has it already.
set -eu
dir=${INTEROP_DIR:-${TMPDIR:-/tmp}/ccctl-interop}
python=${CC_TENSORFLOW_PYTHON:-$dir/bin/python}
if ! "$python" -c 'import tensorflow' >/dev/null 2>&1; then
	if [ -n "${CC_TENSORFLOW_PYTHON:-}" ]; then
		echo "interop: $python has no TensorFlow" >&2
		exit 1
	fi
	python3 -m venv "$dir"
	"$dir/bin/pip" install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0
fi
export CC_TENSORFLOW_PYTHON="$python"
exec go test -count=1 -v -timeout=60m -run='^TestInterop' ./internal/serving/savedmodel ./internal/serving/tlsmaterials
