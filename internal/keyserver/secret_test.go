package keyserver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func readSecret(t *testing.T, conf SecretConfig) (*Secret, error) {
	t.Helper()
	return loadSecret(t.Context(), &conf, (&Config{}).source(&conf, nil), nil)
}

func TestSecretEncodings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wrap-key")
	if err := os.WriteFile(file, canary[:], 0o600); err != nil {
		t.Fatal(err)
	}
	for encoding, want := range map[string][]byte{
		EncodingRaw: canary[:],
		EncodingHex: append([]byte(hex.EncodeToString(canary[:])), 0),
	} {
		s, err := readSecret(t, SecretConfig{Name: "model", File: file, Encoding: encoding})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.wire, want) || s.Name() != "model" || s.Fingerprint() != "" {
			t.Errorf("encoding %s gives %d bytes", encoding, len(s.wire))
		}
		s.destroy()
		if !bytes.Equal(s.wire, make([]byte, len(want))) {
			t.Errorf("encoding %s: the key is still in memory", encoding)
		}
	}
}

func TestSecretDoesNotShowItself(t *testing.T) {
	w := newWorld(t)
	s, err := readSecret(t, SecretConfig{Name: "model", File: filepath.Join(w.dir, "wrap-key"), Encoding: EncodingHex})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", s, "in a struct", struct{ S *Secret }{s}, "in a map", map[string]*Secret{"s": s})
	}
	raw, err := json.Marshal(map[string]any{"s": s})
	if err != nil {
		t.Fatal(err)
	}
	log.Write(raw)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&log, verb+"\n", s)
		fmt.Fprintf(&log, verb+"\n", []*Secret{s})
	}
	checkNoCanary(t, "a printed secret", log.String())
	checkNoCanary(t, "a printed secret", strings.ReplaceAll(log.String(), " ", ""))
	if !strings.Contains(log.String(), "model [redacted]") {
		t.Errorf("it shows nothing of itself: %s", &log)
	}
}

func TestLoadSecretRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name    string
		content string
		mode    os.FileMode
		allow   bool
		err     string // empty: none
	}{
		{name: "good", content: string(canary[:]), mode: 0o600},
		{name: "for its group", content: string(canary[:]), mode: 0o640},
		{name: "read only", content: string(canary[:]), mode: 0o400},
		{name: "for all, allowed", content: string(canary[:]), mode: 0o644, allow: true},
		{name: "for all", content: string(canary[:]), mode: 0o644, err: "its mode is 0644, so every user of this machine can read or replace it; run chmod 0600"},
		{name: "writable by all", content: string(canary[:]), mode: 0o602, err: "its mode is 0602"},
		{name: "empty", mode: 0o600, err: "found 0 bytes, want 16 raw bytes"},
		{name: "short", content: "canary-wrap", mode: 0o600, err: "found 11 bytes, want 16 raw bytes"},
		{name: "with a line end", content: string(canary[:]) + "\n", mode: 0o600, err: "it is longer than 16 bytes"},
		{name: "hex", content: hex.EncodeToString(canary[:]), mode: 0o600, err: "a wrap key is 16 raw bytes, not hex or base64 text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.Contains(tt.err, "mode") {
				t.Skip("files have no such modes here")
			}
			file := filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-"))
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := readSecret(t, SecretConfig{Name: "model", File: file, Encoding: EncodingRaw, AllowReadableByOthers: tt.allow})
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error is %v, want %q", err, tt.err)
			}
			if err != nil {
				checkNoCanary(t, "the error", err.Error())
			}
		})
	}
	if _, err := readSecret(t, SecretConfig{Name: "m", File: dir, Encoding: EncodingRaw, AllowReadableByOthers: true}); err == nil ||
		!strings.Contains(err.Error(), "it is not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := readSecret(t, SecretConfig{Name: "m", File: filepath.Join(dir, "absent")}); err == nil ||
		!strings.HasPrefix(err.Error(), "open wrap key: ") {
		t.Errorf("no file: %v", err)
	}
}
