package configsign

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

var at = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	secret, public, err := GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSigner(secret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	return s, public
}

func sign(t testing.TB, config string, s note.Signer) []byte {
	t.Helper()
	signed, err := Sign([]byte(config), s, at)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestVerify(t *testing.T) {
	const config = "listen: :4433\n"
	alice, alicesKey := newKey(t, "alice")
	bob, bobsKey := newKey(t, "bob")
	other, _ := newKey(t, "alice") // the same name
	noteOf := func(text string) []byte {
		signed, err := note.Sign(&note.Note{Text: text}, alice)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	good := sign(t, config, alice)
	both, err := note.Sign(&note.Note{Text: text([]byte(config), at.Format(time.RFC3339))}, other, bob)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		config    string
		signature []byte
		keys      []string
		signer    string
		err       string
	}{
		{"good", config, good, []string{alicesKey}, "alice", ""},
		{"one of two keys", config, sign(t, config, bob), []string{alicesKey, bobsKey + "\n"}, "bob", ""},
		{"one of two signatures", config, both, []string{bobsKey}, "bob", ""},
		{"changed", config + " ", good, []string{alicesKey}, "", "the signature of 2026-11-02T12:00:00Z is of another version of it"},
		{"cut", config[:len(config)-1], good, []string{alicesKey}, "", "of another version"},
		{"stranger", config, sign(t, config, bob), []string{alicesKey}, "", "it is signed by bob (key "},
		{"namesake", config, sign(t, config, other), []string{alicesKey}, "", "it is signed by alice (key "},
		{"text changed", config, []byte(strings.Replace(string(good), "time 2026", "time 2027", 1)), []string{alicesKey}, "", "the signature is no good: "},
		{"empty", config, nil, []string{alicesKey}, "", "the signature is no good: malformed note"},
		{"no note", config, []byte(config), []string{alicesKey}, "", "malformed note"},
		{"unsigned", config, []byte(text([]byte(config), "2026-11-02T12:00:00Z")), []string{alicesKey}, "", "malformed note"},
		{"a checkpoint", config, noteOf("alice\n4\nAAAA\ntime 2026-11-02T12:00:00Z\n"), []string{alicesKey}, "", "what is signed is something else"},
		{"another header", config, noteOf("x" + text([]byte(config), "2026-11-02T12:00:00Z")), []string{alicesKey}, "", "what is signed is something else"},
		{"a line more", config, noteOf(text([]byte(config), "2026-11-02T12:00:00Z") + "x\n"), []string{alicesKey}, "", "what is signed is something else"},
		{"no time", config, noteOf(text([]byte(config), "noon")), []string{alicesKey}, "", "what is signed is something else"},
	} {
		v, err := NewVerifier(tt.keys...)
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.Verify([]byte(tt.config), tt.signature)
		switch {
		case tt.err != "":
			if !errors.Is(err, ErrNotSigned) || !strings.Contains(err.Error(), tt.err) || s != nil {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case s.Signer != tt.signer || !s.Time.Equal(at):
			t.Errorf("%s: signature %+v", tt.name, s)
		}
	}
}

func TestKeys(t *testing.T) {
	secret, public, err := GenerateKey("ops.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "x", secret, public[:len(public)-3]} {
		if _, err := NewVerifier(key); err == nil || !strings.Contains(err.Error(), "it is not a key as 'ccctl keyserver gen-key' prints it") || key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("key %q: %v", key, err)
		}
		if _, err := ParseSigner(key); key != secret && (err == nil || key != "" && strings.Contains(err.Error(), key)) {
			t.Errorf("signing key %q: %v", key, err)
		}
	}
	if _, err := ParseSigner(secret[:len(secret)-3]); err == nil || strings.Contains(err.Error(), secret[20:30]) {
		t.Errorf("a cut key: %v", err)
	}
	if _, err := NewVerifier(); err == nil {
		t.Error("a verifier without keys")
	}
	if _, _, err := GenerateKey("a b"); err == nil {
		t.Error("a name with a space")
	}
}

// FuzzVerify: no signature but the one that was made is good, whatever surrounds it.
func FuzzVerify(f *testing.F) {
	s, public := newKey(f, "alice")
	v, err := NewVerifier(public)
	if err != nil {
		f.Fatal(err)
	}
	good := sign(f, "config", s)
	f.Add([]byte("config"), good)
	f.Add([]byte("confih"), good)
	f.Add([]byte("config"), []byte(nil))
	f.Fuzz(func(t *testing.T, config, signature []byte) {
		if _, err := v.Verify(config, signature); (err == nil) && string(config) != "config" {
			t.Fatalf("%q is signed by %q", config, signature)
		}
	})
}
