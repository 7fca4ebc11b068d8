package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/version"
)

func TestLogWanted(t *testing.T) {
	for _, tt := range []struct {
		environment []string
		want        bool
	}{
		{nil, false},
		{[]string{"HOME=/root", "TF_VAR_x=1", "TF_CLI_ARGS=-no-color"}, false},
		{[]string{"TF_LOG="}, false},
		{[]string{"TF_LOG_PATH=/tmp/log"}, false}, // where to, and not what
		{[]string{"TF_LOG=TRACE"}, true},
		{[]string{"A=1", "TF_LOG_PROVIDER=DEBUG"}, true},
		{[]string{"TF_LOG_SDK_FRAMEWORK=WARN"}, true},
		{[]string{"TF_LOG_PATH=/tmp/log", "TF_LOG=JSON"}, true},
	} {
		if got := logWanted(tt.environment); got != tt.want {
			t.Errorf("%v: %v", tt.environment, got)
		}
	}
}

func TestWriteVersion(t *testing.T) {
	var text, object bytes.Buffer
	if err := writeVersion(&text, false); err != nil || !strings.HasPrefix(text.String(), "terraform-provider-cc "+version.Read().Version) {
		t.Errorf("%q, %v", &text, err)
	}
	var info version.Info
	if err := writeVersion(&object, true); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(object.Bytes(), &info); err != nil || info != version.Read() {
		t.Errorf("%s, %v", &object, err)
	}
}
