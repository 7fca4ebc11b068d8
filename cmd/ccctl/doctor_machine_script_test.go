package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// cmdSimulateECS is the script command "simulate-ecs": the environment names an account of a simulator.
func cmdSimulateECS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: simulate-ecs")
	}
	sim, err := ecssim.New(ecssim.Options{})
	ts.Check(err)
	l, err := ecssim.Listen("127.0.0.1:0", sim)
	ts.Check(err)
	ts.Defer(l.Close)
	for name, value := range map[string]string{
		"ALICLOUD_REGION": "cn-beijing", "ALICLOUD_ACCESS_KEY": ecssim.DefaultAccessKey, "ALICLOUD_SECRET_KEY": ecssim.DefaultSecretKey,
		"ALIBABA_CLOUD_ENDPOINT_ECS": "http://" + l.Addr, "ALIBABA_CLOUD_ENDPOINT_VPC": "http://" + l.Addr, "ALIBABA_CLOUD_ENDPOINT_STS": "http://" + l.Addr,
	} {
		ts.Setenv(name, value)
	}
}

// cmdStartSSHD makes the script command "start-sshd": a server at $SSH_ADDRESS that lets $SSH_USER in with $SSH_KEY, whose
// key is in $KNOWN_HOSTS, and another one in $WRONG_HOSTS. No Docker daemon answers there. The server is the test's, for it knows how to end it.
func cmdStartSSHD(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) > 0 {
			ts.Fatalf("usage: start-sshd")
		}
		sshd := testhost.StartSSHD(t, "DOCKER_HOST=unix:///nonexistent")
		write := func(name, hostKey string) string {
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
			ts.Check(err)
			file := filepath.Join(ts.MkAbs("."), name)
			ts.Check(os.WriteFile(file, []byte(knownhosts.Line([]string{sshd.Address}, key)+"\n"), 0o600))
			return file
		}
		ts.Setenv("SSH_ADDRESS", sshd.Address)
		ts.Setenv("SSH_USER", sshd.User)
		ts.Setenv("SSH_KEY", sshd.KeyFile)
		ts.Setenv("KNOWN_HOSTS", write("known", sshd.HostKey))
		ts.Setenv("WRONG_HOSTS", write("wrong", testhost.NewKey(t, filepath.Join(ts.MkAbs("."), "other-host-key"))))
	}
}
