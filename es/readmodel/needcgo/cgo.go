// Package needcgo ends a build without cgo by a name that says what to do. It stands below es/readmodel, so that the
// Go tool reports it instead of what SQLite lacks then.
package needcgo
