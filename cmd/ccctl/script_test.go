package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this program as the command "ccctl".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ccctl": func() { os.Exit(mainExit()) },
	})
}

// TestScript runs the sessions under testdata/script.
func TestScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) == 0 {
		t.Fatal("testdata/script has no scripts")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"attestation-world": cmdAttestationWorld,
			"enclave":           cmdEnclave,
			"expand":            cmdExpand,
			"interrupt-pf":      cmdInterruptPF,
			"keyserver":         cmdKeyserver,
			"copy-sigstructs":   cmdCopySigstructs,
			"make-tls":          cmdMakeTLS,
			"odd-pf":            cmdOddities,
			"serve-tls":         cmdServeTLS,
			"copy-model":        cmdCopyModel,
			"simulate-ecs":      cmdSimulateECS,
			"simulate-pccs":     cmdSimulatePCCS,
			"simulate-cloud":    cmdSimulateCloud,
			"simulate-sgx":      cmdSimulateSGX,
			"start-sshd":        cmdStartSSHD(t),
			"status":            cmdStatus,
		},
	})
}
