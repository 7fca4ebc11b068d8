package version

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFrom(t *testing.T) {
	const commit = "4d9862a0c0ffee4d9862a0c0ffee4d9862a0c0ff"
	settings := func(kv ...string) (all []debug.BuildSetting) {
		for i := 0; i+1 < len(kv); i += 2 {
			all = append(all, debug.BuildSetting{Key: kv[i], Value: kv[i+1]})
		}
		return all
	}
	for _, tt := range []struct {
		name string
		info debug.BuildInfo
		want Info
		text string
	}{
		{"nothing recorded", debug.BuildInfo{}, Info{Version: "devel"}, "devel"},
		{
			"a test", debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}},
			Info{Version: "devel", Go: "go1.26.8"}, "devel (go1.26.8)",
		},
		{
			"a release", debug.BuildInfo{
				GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.0"},
				Settings: settings("GOOS", "linux", "GOARCH", "amd64", "vcs.revision", commit, "vcs.time", "2026-11-23T20:39:09Z", "vcs.modified", "false"),
			},
			Info{Version: "v1.2.0", Revision: commit, Time: "2026-11-23T20:39:09Z", Go: "go1.26.8", Platform: "linux/amd64"},
			"v1.2.0 (commit " + commit + " of 2026-11-23T20:39:09Z, go1.26.8, linux/amd64)",
		},
		{
			"changed files", debug.BuildInfo{Main: debug.Module{Version: "v1.2.0+dirty"}, Settings: settings("vcs.revision", commit, "vcs.modified", "true")},
			Info{Version: "v1.2.0+dirty", Revision: commit, Modified: true}, "v1.2.0+dirty (commit " + commit + ", modified)",
		},
		{
			"a commit without a version", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: settings("vcs.revision", commit, "GOOS", "linux")},
			Info{Version: "devel+4d9862a0c0ff", Revision: commit}, "devel+4d9862a0c0ff (commit " + commit + ")",
		},
		{"a short revision", debug.BuildInfo{Settings: settings("vcs.revision", "7")}, Info{Version: "devel+7", Revision: "7"}, "devel+7 (commit 7)"},
	} {
		got := From(&tt.info)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if got.String() != tt.text {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.text)
		}
	}
}

func TestRead(t *testing.T) {
	got := Read()
	if got.Go != runtime.Version() || got.Platform != runtime.GOOS+"/"+runtime.GOARCH || got.Version == "" {
		t.Errorf("%+v", got)
	}
}
