// Package version tells which build a program is, from what the Go toolchain
// recorded in it. Nothing is stamped with linker flags: a binary says the same
// of itself as `go version -m` says of it, and whoever builds the same commit
// gets the same answer.
package version

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// Info is a build.
type Info struct {
	// Version is the release's, such as "v1.2.0"; of a commit between releases
	// the pseudo-version that Go gives it (https://go.dev/ref/mod#pseudo-versions);
	// "devel" where the toolchain recorded none, as in a test.
	Version string `json:"version"`
	// Revision is the commit in hex, and Time that of the commit (RFC 3339);
	// empty where they were not recorded.
	Revision string `json:"revision,omitempty"`
	Time     string `json:"revision_time,omitempty"`
	// Modified tells that files differed from the commit.
	Modified bool `json:"modified"`
	// Go is the toolchain, such as "go1.26.8", and Platform what it compiled
	// for, such as "linux/amd64".
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read tells which build the running program is.
func Read() Info {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return From(info)
}

// From tells which build a program is whose record has been read already.
func From(info *debug.BuildInfo) Info {
	i := Info{Version: info.Main.Version, Go: info.GoVersion}
	var system, machine string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		case "GOOS":
			system = s.Value
		case "GOARCH":
			machine = s.Value
		}
	}
	if system != "" && machine != "" {
		i.Platform = system + "/" + machine
	}
	if i.Version == "" || i.Version == "(devel)" {
		i.Version = "devel"
		if i.Revision != "" {
			i.Version += "+" + i.Revision[:min(12, len(i.Revision))]
		}
	}
	return i
}

// String is the version and, in parentheses, what else is known.
func (i Info) String() string {
	var more []string
	if i.Revision != "" {
		revision := "commit " + i.Revision
		if i.Time != "" {
			revision += " of " + i.Time
		}
		if i.Modified {
			revision += ", modified"
		}
		more = append(more, revision)
	}
	for _, s := range []string{i.Go, i.Platform} {
		if s != "" {
			more = append(more, s)
		}
	}
	if len(more) == 0 {
		return i.Version
	}
	return fmt.Sprintf("%s (%s)", i.Version, strings.Join(more, ", "))
}
