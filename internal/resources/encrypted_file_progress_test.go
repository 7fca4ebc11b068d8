package resources

import (
	"bytes"
	"testing"

	"github.com/hashicorp/terraform-plugin-log/tflogtest"
)

// TestLogProgress counts the lines that a large file leaves in the log.
func TestLogProgress(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	progress := logProgress(tflogtest.RootLogger(t.Context(), &out), "encrypting", "model.pb")
	for range 2500 { // 937.5 MiB in groups of 384 KiB
		progress(384 << 10)
	}
	lines, err := tflogtest.MultilineJSONDecode(&out)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines, want one each 256 MiB: %v", len(lines), lines)
	}
	for i, line := range lines {
		done, ok := line["bytes_done"].(float64)
		if !ok || int64(done)/(256<<20) != int64(i+1) || line["file"] != "model.pb" || line["@message"] != "encrypting a large file" {
			t.Errorf("line %d: %v", i, line)
		}
	}
}
