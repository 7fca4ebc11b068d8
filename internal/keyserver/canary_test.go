package keyserver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// leaks lists the forms of a secret that a text contains.
func leaks(text, secret []byte) []string {
	digits := []byte(hex.EncodeToString(secret))
	forms := map[string]string{"raw": string(secret), "hex": string(digits), "upper-case hex": strings.ToUpper(string(digits))}
	for name, verb := range map[string]string{"decimal": "%d", "Go syntax": "%#v", "spaced hex": "% x", "prefixed hex": "%#x"} {
		forms[name] = strings.Trim(fmt.Sprintf(verb, secret), "[]")
	}
	// A stack trace shows an array that is an argument in words or bytes, least significant first.
	words, octets := []string{}, []string{}
	for i := 0; i+8 <= len(secret); i += 8 {
		word := slices.Clone(secret[i : i+8])
		slices.Reverse(word)
		words = append(words, fmt.Sprintf("%#x", word))
	}
	for _, b := range secret {
		octets = append(octets, fmt.Sprintf("%#x", b))
	}
	forms["octets"] = strings.Join(octets, ", ")
	for i, word := range words {
		forms[fmt.Sprintf("word %d", i)] = word
	}
	// Base64 of something that the secret is a part of looks in one of three ways, but for the digits at its ends.
	for what, b := range map[string][]byte{"base64": secret, "base64 of hex": digits} {
		for shift := range 3 {
			for alphabet, encoding := range map[string]*base64.Encoding{"": base64.StdEncoding, ", URL": base64.URLEncoding} {
				text := encoding.EncodeToString(append(make([]byte, shift), b...))
				forms[fmt.Sprintf("%s at %d%s", what, shift, alphabet)] = text[(shift*8+5)/6 : (shift+len(b))*8/6]
			}
		}
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		if bytes.Contains(text, []byte(forms[name])) {
			found = append(found, name)
		}
	}
	return found
}

// TestLeaks: what finds nothing would find something.
func TestLeaks(t *testing.T) {
	secret := []byte("\x9e\x01z{|}~\x7f\x80\x81\x82\x83\x84\xfb\xef\xff")
	digits := hex.EncodeToString(secret)
	for _, text := range []string{
		string(secret), digits, strings.ToUpper(digits), fmt.Sprintf("%d", secret), fmt.Sprintf("%#v", secret), fmt.Sprintf("% x", secret),
		base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret),
		base64.StdEncoding.EncodeToString(append([]byte("1"), append(slices.Clone(secret), "234"...)...)),
		base64.StdEncoding.EncodeToString(append([]byte("key"), append(slices.Clone(secret), '5')...)),
		base64.StdEncoding.EncodeToString(append([]byte("12345"), secret...)), base64.StdEncoding.EncodeToString([]byte(digits)),
		"main.f({0x9e, 0x1, 0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0xfb, 0xef, 0xff})",
		"main.f(0x7f7e7d7c7b7a019e)",
	} {
		if len(leaks([]byte("x "+text+" y"), secret)) == 0 {
			t.Errorf("%q is not found", text)
		}
	}
	if found := leaks([]byte("nothing of it: 9e017a7b, 0x9e, ngF6"), secret); len(found) != 0 {
		t.Errorf("found %q in a text without it", found)
	}
}

// fragile is a listener whose connections break down, when they are told to, as a secret is written.
type fragile struct {
	net.Listener

	armed *atomic.Bool
}

func (f fragile) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	return fragileConn{conn, f.armed}, err
}

type fragileConn struct {
	net.Conn

	armed *atomic.Bool
}

func (c fragileConn) Write(p []byte) (int, error) {
	if c.armed.Load() {
		stack := make([]byte, 64<<10)
		if bytes.Contains(stack[:runtime.Stack(stack, false)], []byte("protocol.WriteResponse")) {
			panic("the cable is on fire")
		}
	}
	return c.Conn.Write(p)
}

// surface is a place where people look, and a word that must be there: an empty place hides nothing.
type surface struct{ text, word string }

// TestCanary: a server releases secrets in both encodings, refuses, fails, panics and is reloaded, and nothing that anybody can
// see of it shows a secret.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	hexKey := [wrapKeySize]byte{'0', 0xca, 0x4a, 0x12, 0xfe, 0xed, 0xbe, 0xef, 0x91, 0x17, 0xaa, 0x5e, 0xc2, 0x33, 0x79, 0xd8}
	w.write("hex-key", hexKey[:])
	text := w.audited() + `admin: { listen: "127.0.0.1:0" }` + "\n"
	text = strings.Replace(text, "name: model-hex, file: wrap-key", "name: model-hex, file: hex-key", 1)
	text = strings.Replace(text, "rules:\n", "rules:\n"+w.rule("old clients", "model-hex", "server_name: [localhost]"), 1)
	w.write("server.yaml", []byte(text))
	cfg, err := LoadConfig(filepath.Join(w.dir, "server.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var jsonLog logBuffer
	opts := w.options()
	opts.Log = slog.New(slog.NewMultiHandler(opts.Log.Handler(), slog.NewJSONHandler(&jsonLog, &slog.HandlerOptions{Level: slog.LevelDebug})))
	server, err := New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	var armed atomic.Bool
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := w.serveOn(server, fragile{l, &armed})
	address := w.admin(s)

	// Everything that can happen to a secret.
	if d, err := provision(t, w.enclave(s)); err != nil || !bytes.Equal(d.Secret, canary[:]) {
		t.Fatalf("the raw secret was not released: %v", err)
	}
	old := w.enclave(s)
	old.Release, old.Servers, old.Dial = "1.2", "localhost:4433", dialTo(s.addr)
	if d, err := provision(t, old); err != nil || string(d.Secret) != hex.EncodeToString(hexKey[:])+"\x00" {
		t.Fatalf("the hex secret was not released: %v", err)
	}
	refused := w.enclave(s)
	id := w.identity
	id.Debug = true
	refused.Quoter = w.platform.Quoter(id)
	if _, err := provision(t, refused); err == nil {
		t.Fatal("a debug enclave got the key")
	}
	awaitDecisions(t, s, 3)
	armed.Store(true)
	if _, err := provision(t, w.enclave(s)); err == nil {
		t.Fatal("the connection did not break down")
	}
	armed.Store(false)
	last := awaitDecisions(t, s, 4)[3]
	if last.Verdict != "not_sent" || last.Error != "the server panicked: see its log" {
		t.Errorf("the broken connection: %+v", last)
	}
	w.write("server.yaml", []byte(text+"# again\n"))
	if err := s.reload(context.Background(), filepath.Join(w.dir, "server.yaml")); err != nil {
		t.Fatal(err)
	}
	// A key where the configuration belongs, and a key that is too long.
	w.write("server.yaml", hexKey[:])
	bad := s.reload(context.Background(), filepath.Join(w.dir, "server.yaml"))
	w.write("wrap-key", append(canary[:], '\n'))
	w.write("server.yaml", []byte(text+"# once more\n"))
	worse := s.reload(context.Background(), filepath.Join(w.dir, "server.yaml"))
	if bad == nil || worse == nil {
		t.Fatal("bad configurations are in force")
	}
	waitUntil(t, "the platforms are compared with the early set", func() bool { return s.early.Figures().Results["refused"] >= 2 })
	dump := make([]byte, 4<<20)
	dump = dump[:runtime.Stack(dump, true)]

	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	panicked := w.log.waitFor(t, "a connection ended in a panic")
	g := s.acquire()
	surfaces := map[string]surface{
		"text log":         {w.log.String(), "secret sent"},
		"JSON log":         {jsonLog.String(), `"msg":"secret sent"`},
		"panic text":       {panicked, "protocol.WriteResponse"},
		"goroutine dump":   {string(dump), "keyserver"},
		"audit log":        {read("audit.log"), `"event":"release"`},
		"audit checkpoint": {read("audit.log.checkpoint"), "keys.example.com"},
		"page":             {fetchText(t, address+"/"), "old clients"},
		"status":           {fetchText(t, address+"/status"), "key_fingerprint"},
		"decisions":        {fetchText(t, address+"/decisions"), `"sent"`},
		"metrics":          {fetchText(t, address+"/metrics"), "cc_keyserver_releases_total"},
		"health":           {fetchText(t, address+"/healthz") + fetchText(t, address+"/readyz"), "ok"},
		"error texts":      {bad.Error() + "\n" + worse.Error(), "longer than 16 bytes"},
		"%+v":              {fmt.Sprintf("%+v %#v %v %x", g.secrets, g.secrets, g.cfg, g.secrets), "redacted"},
	}
	s.release(g)
	s.stop() // the last lines of log and audit log
	surfaces["audit log at the end"] = surface{read("audit.log"), `"event":"stop"`}
	surfaces["text log at the end"] = surface{w.log.String(), "stopped"}
	if len(surfaces) != 15 {
		t.Errorf("%d surfaces are searched", len(surfaces))
	}
	searched := 0
	for name, place := range surfaces {
		if !strings.Contains(place.text, place.word) {
			t.Errorf("%s: does not say %q: %.500s", name, place.word, place.text)
		}
		searched += len(place.text)
		for key, secret := range map[string][]byte{"raw key": canary[:], "hex key": hexKey[:]} {
			if found := leaks([]byte(place.text), secret); len(found) > 0 {
				t.Errorf("%s shows the %s as %q", name, key, found)
			}
		}
	}
	t.Logf("searched %d surfaces, %d bytes", len(surfaces), searched)
}
