package cli

import (
	"cmp"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/millstream-es/millstream/es/runtime"
)

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

type versions struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run is called by kong.
func (v *versionCmd) Run(a *app) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the binary was built without the Go tool's build information")
	}
	stamp := map[string]string{}
	for _, s := range info.Settings {
		stamp[s.Key] = s.Value
	}
	is := versions{a.domain.Name, runtime.Version, stamp["vcs.revision"], info.GoVersion, stamp["GOOS"] + "/" + stamp["GOARCH"]}
	if stamp["vcs.modified"] == "true" {
		is.Commit += "+changes"
	}
	if v.JSON {
		return a.printJSON(is)
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s (commit %s, %s, %s)\n", is.Name, is.Version, cmp.Or(is.Commit, "unknown"), is.Go, is.Platform)
	return err
}
