package main

import "testing"

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
