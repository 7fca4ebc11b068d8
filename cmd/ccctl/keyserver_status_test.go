package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
)

// TestStatusExitCodes: what is wrong decides the exit code, and is said.
func TestStatusExitCodes(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	good := console.Status{
		Ready: true, PID: 7, Listen: "192.0.2.1:4433", Now: now, Started: now.Add(-5 * time.Hour), UptimeSeconds: 5 * 3600,
		Certificate: console.Certificate{Subject: "CN=\x1b[2Jx", NotAfter: now.Add(time.Hour)},
	}
	warned := good
	warned.Warnings = []string{"it expires soon"}
	warned.Configuration.Refused = &console.Refused{Time: now.Add(-3 * time.Minute), Error: "rules is empty"}
	warned.Audit = &console.Audit{File: "/a.log", Error: "no space left on device"}
	warned.EarlyTCB = console.EarlyTCB{State: "watching", Error: "unreachable", Platforms: []console.EarlyPlatform{
		{FMSPC: "00606A000000", TCB: "PCESVN 13", Rule: "the rule", Refused: true, Checked: now, Seen: now.Add(-time.Minute), TCBStatus: "OutOfDate", EvaluationNumber: 18,
			Reasons: []console.Reason{{Check: "tcb_status", Got: "OutOfDate", Wanted: "UpToDate"}}},
		{FMSPC: "00906ED50000", Checked: now, TCBStatus: "UpToDate", EvaluationNumber: 18}, {FMSPC: "90C06F000000"},
	}}
	expired := good
	expired.Problems = []string{"the server's certificate has expired: every client refuses it"}
	unready := good
	unready.Ready, unready.Problems = false, []string{"no enclave can be verified: the QE identity expired", "another"}
	for _, tt := range []struct {
		name     string
		status   any
		code     int
		out, err []string
	}{
		{"good", good, exitOK, []string{"ready          yes", "uptime         5 h", "started        2026-11-02T07:00:00Z", `CN=\x1b[2Jx`, "(in 60 min)"}, nil},
		{"warned", warned, exitOK, []string{
			"WARNING        it expires soon", "not loaded     a newer configuration, 2026-11-02T11:57:00Z (3 min ago): rules is empty",
			"audit log      /a.log, cannot be written: no space left on device", "early TCB      watching: unreachable",
			"FMSPC 00606A000000, PCESVN 13  REFUSED: OutOfDate, evaluation number 18  the rule  2026-11-02T11:59:00Z (60 s ago)  tcb_status, got OutOfDate, wanted UpToDate",
			"accepted: UpToDate, evaluation number 18", "not compared yet",
		}, nil},
		{"expired certificate", expired, exitFailed, []string{"PROBLEM        the server's certificate has expired"}, []string{"error: ask key server: it is not healthy: the server's certificate has expired: every client refuses it"}},
		{"not ready", unready, exitFailed, []string{"ready          no enclave can be verified: the QE identity expired; another"}, []string{"error: ask key server: it is not ready: no enclave can be verified: the QE identity expired; another"}},
		{"not a console", "<html>", exitFailed, nil, []string{"error: ask key server: read its answer: "}},
		{"refusing", nil, exitFailed, nil, []string{"error: ask key server: it answers 421 Misdirected Request: this listener is for localhost"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch status := tt.status.(type) {
				case nil:
					http.Error(w, "this listener is for localhost", http.StatusMisdirectedRequest)
				case string:
					_, _ = w.Write([]byte(status))
				default:
					if r.URL.String() != "/status?decisions=10" {
						t.Errorf("asked for %s", r.URL)
					}
					_ = json.NewEncoder(w).Encode(status)
				}
			}))
			defer server.Close()
			var out, errOut bytes.Buffer
			if code := run(t.Context(), []string{"keyserver", "status", "--admin", server.Listener.Addr().String()}, nil, &out, &errOut); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output does not say %q:\n%s", want, &out)
				}
			}
			for _, want := range tt.err {
				if !strings.Contains(errOut.String(), want) {
					t.Errorf("errors do not say %q:\n%s", want, &errOut)
				}
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Error("the server moves the cursor")
			}
		})
	}
}
