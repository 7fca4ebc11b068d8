package keyserver

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func TestEveryReleaseOfGramineGetsItsKey(t *testing.T) {
	w := newWorld(t)
	// Old clients want the key in hex; the server name tells which rule is theirs.
	s := w.start(w.base() + "rules:\n" +
		w.rule("old", "model-hex", "server_name: [old.example.com]") +
		w.rule("new", "model", "server_name: [127.0.0.1]"))
	w.issue("127.0.0.1", "old.example.com")
	_ = s
	s = w.start(w.base() + "rules:\n" +
		w.rule("old", "model-hex", "server_name: [old.example.com]") +
		w.rule("new", "model", "server_name: [127.0.0.1]"))
	for _, release := range sgxsim.Releases() {
		t.Run(release, func(t *testing.T) {
			e := w.enclave(s)
			e.Release = release
			hexKey := release == "1.0" || release == "1.1" || release == "1.2"
			if hexKey {
				e.Servers = "old.example.com:4433"
				e.Dial = dialTo(s.addr)
			}
			d, err := provision(t, e)
			if err != nil {
				t.Fatalf("%v\n%s", err, w.log.String())
			}
			want := canary[:]
			if hexKey {
				want = append([]byte(hex.EncodeToString(canary[:])), 0)
			}
			if !bytes.Equal(d.Secret, want) {
				t.Errorf("the secret has %d bytes and is not the key", len(d.Secret))
			}
			if key, err := d.Key(); err != nil || key != canary {
				t.Errorf("the enclave makes another key of it: %v", err)
			}
		})
	}
	checkNoCanary(t, "the log", w.log.String())
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world, e *sgxsim.Enclave)
		log    []string
	}{
		{"another MRENCLAVE", func(w *world, e *sgxsim.Enclave) {
			id := w.identity
			id.MRENCLAVE[5] = 1
			e.Quoter = w.platform.Quoter(id)
		}, []string{"msg=refused", "mr_enclave: got e1000000000100", "wanted e10000000000", `rule \"the rule\"`}},
		{"debug", func(w *world, e *sgxsim.Enclave) {
			id := w.identity
			id.Debug = true
			e.Quoter = w.platform.Quoter(id)
		}, []string{"msg=refused", "debug=true", "debug: got"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.start(w.config())
			e := w.enclave(s)
			tt.change(w, e)
			d, err := provision(t, e)
			var failure *sgxsim.EnclaveError
			if !errors.As(err, &failure) {
				t.Fatalf("the enclave got a secret of %d bytes, error %v", len(d.Secret), err)
			}
			w.log.waitFor(t, tt.log...)
			t.Log(w.log.String())
		})
	}
}
