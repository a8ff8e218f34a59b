//go:build !cgo

package needcgo

// SQLite needs cgo, and cgo a C compiler; without one the Go tool leaves cgo out. Install it with apt-get install gcc,
// apk add build-base or xcode-select --install, and unset CGO_ENABLED if it is 0.
var _ = millstream_needs_a_C_compiler___apt_get_install_gcc___or_xcode_select_install___and_CGO_ENABLED_must_not_be_0
