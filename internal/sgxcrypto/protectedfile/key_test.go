package protectedfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	raw := stream("a key", KeySize)
	for _, tc := range []struct {
		name string
		in   []byte
		want string // of the error
	}{
		{"right", raw, ""},
		{"empty", nil, "parse wrap key: 0 bytes found, want exactly 16 raw bytes: the file is empty"},
		{"short", raw[:15], "parse wrap key: 15 bytes found, want exactly 16 raw bytes"},
		{"line end", append(bytes.Clone(raw), '\n'), "parse wrap key: 17 bytes found, want exactly 16 raw bytes: a line end follows the 16 bytes; remove it"},
		{"CR LF", append(bytes.Clone(raw), "\r\n"...), "parse wrap key: 18 bytes found, want exactly 16 raw bytes: a line end follows the 16 bytes; remove it"},
		{"hex", []byte(hex.EncodeToString(raw)), "parse wrap key: 32 bytes found, want exactly 16 raw bytes: these are 32 hex digits, the form of old manifests; decode them first, for instance with xxd -r -p"},
		{"hex, line end", []byte(hex.EncodeToString(raw) + "\n"), "parse wrap key: 33 bytes found, want exactly 16 raw bytes: these are 32 hex digits, the form of old manifests; decode them first, for instance with xxd -r -p"},
		{"hex, NUL", []byte(hex.EncodeToString(raw) + "\x00"), "parse wrap key: 33 bytes found, want exactly 16 raw bytes: these are 32 hex digits, the form of old manifests; decode them first, for instance with xxd -r -p"},
		{"32 others", bytes.Repeat([]byte("z"), 32), "parse wrap key: 32 bytes found, want exactly 16 raw bytes"},
		{"zero", make([]byte, 16), "parse wrap key: all 16 bytes are zero, which no random source gives"},
	} {
		k, err := ParseKey(tc.in)
		switch {
		case tc.want == "" && (err != nil || !bytes.Equal(k[:], raw)):
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || err.Error() != tc.want):
			t.Errorf("%s: error %q, want %q", tc.name, err, tc.want)
		case tc.want != "" && k != (Key{}):
			t.Errorf("%s: a key comes with the error", tc.name)
		}
	}
}

func TestParseHexKey(t *testing.T) {
	k := Key(stream("a key", KeySize))
	for _, in := range []string{hex.EncodeToString(k[:]), strings.ToUpper(hex.EncodeToString(k[:]))} {
		if got, err := ParseHexKey(in); err != nil || got != k {
			t.Errorf("%d digits: %v", len(in), err)
		}
	}
	for _, tc := range []struct{ in, want string }{
		{"", "parse wrap key: 0 characters found, want exactly 32 hex digits"},
		{strings.Repeat("a", 31), "parse wrap key: 31 characters found, want exactly 32 hex digits"},
		{strings.Repeat("a", 34), "parse wrap key: 34 characters found, want exactly 32 hex digits"},
		{strings.Repeat("g", 32), "parse wrap key: 32 characters found, want exactly 32 hex digits"},
		{strings.Repeat("0", 32), "parse wrap key: all 16 bytes are zero, which no random source gives"},
	} {
		if got, err := ParseHexKey(tc.in); err == nil || err.Error() != tc.want || got != (Key{}) {
			t.Errorf("%q: %v, want %q", tc.in, err, tc.want)
		}
	}
}

func TestNewKey(t *testing.T) {
	a, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if a == b || a.isZero() || b.isZero() {
		t.Error("keys are not drawn at random")
	}
}

func TestFingerprint(t *testing.T) {
	a, b := Key(stream("a", KeySize)), Key(stream("b", KeySize))
	if a.Fingerprint() == b.Fingerprint() {
		t.Error("two keys have one fingerprint")
	}
	// Frozen: it is in states and configurations.
	if got, want := a.Fingerprint(), "831744c84a769f98"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

// TestKeyNeverPrints tries every way a value gets into a log.
func TestKeyNeverPrints(t *testing.T) {
	k := Key(stream("secret", KeySize))
	type holder struct {
		Name string
		Key  Key
		Ptr  *Key
	}
	h := holder{"x", k, &k}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%b", "%o", "%c", "%U", "%t"} {
		_, _ = fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", k, &k, h)
	}
	_, _ = fmt.Fprintln(&out, k, []Key{k}, map[Key]int{k: 1})
	js, err := json.Marshal(map[string]any{"key": k, "in": h, "list": []Key{k}, "map": map[Key]int{k: 1}})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", k, "ptr", &k, "in", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "key", k, "ptr", &k, "in", h)

	text := out.String()
	if !strings.Contains(text, k.Fingerprint()) {
		t.Fatal("nothing was printed")
	}
	decimal := strings.Trim(fmt.Sprintf("%d", k[:]), "[]")
	for _, form := range []string{
		string(k[:]), hex.EncodeToString(k[:]), strings.ToUpper(hex.EncodeToString(k[:])), base64.StdEncoding.EncodeToString(k[:]),
		decimal, strings.ReplaceAll(decimal, " ", ", "), strings.ReplaceAll(decimal, " ", ","), fmt.Sprintf("% x", k[:]), fmt.Sprintf("%#v", k[:])[len("[]byte{"):40],
	} {
		if strings.Contains(text, form) {
			t.Errorf("the output contains the key as %q", form)
		}
	}
}
