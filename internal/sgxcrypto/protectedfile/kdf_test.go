package protectedfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAESCMAC runs the examples of RFC 4493 section 4.
func TestAESCMAC(t *testing.T) {
	key := Key(unhex(t, "2b7e151628aed2a6abf7158809cf4f3c"))
	msg := unhex(t, "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710")
	for _, tc := range []struct {
		n    int
		want string
	}{
		{0, "bb1d6929e95937287fa37d129b756746"},
		{16, "070a16b46b4d4144f79bdd9dd04a287c"},
		{40, "dfa66747de9ae63030ca32611497c827"},
		{64, "51f0bebf7e3b9d92fc49741779363cfe"},
	} {
		mac := aesCMAC(key, msg[:tc.n])
		if got := hex.EncodeToString(mac[:]); got != tc.want {
			t.Errorf("%d bytes: %s, want %s", tc.n, got, tc.want)
		}
	}
}

func TestDouble(t *testing.T) {
	// The subkeys of RFC 4493's example, and the carry out of the top bit.
	for _, tc := range []struct{ in, want string }{
		{"7df76b0c1ab899b33e42f047b91b546f", "fbeed618357133667c85e08f7236a8de"},
		{"fbeed618357133667c85e08f7236a8de", "f7ddac306ae266ccf90bc11ee46d513b"},
		{"80000000000000000000000000000000", "00000000000000000000000000000087"},
		{"00000000000000008000000000000000", "00000000000000010000000000000000"},
	} {
		b := [16]byte(unhex(t, tc.in))
		double(&b)
		if got := hex.EncodeToString(b[:]); got != tc.want {
			t.Errorf("double(%s) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

// TestSealNodeKeepsItsNeighbour checks that the tag that GCM writes behind the
// node does not stay there.
func TestSealNodeKeepsItsNeighbour(t *testing.T) {
	plain := stream("node", NodeSize)
	next := stream("next", tagSize)
	buf := append(bytes.Clone(plain), next...)
	s := slot(append(stream("key", keySize), make([]byte, tagSize)...))

	sealNode(buf, buf, s)
	if bytes.Equal(buf[:NodeSize], plain) || bytes.Equal(s.tag(), make([]byte, tagSize)) {
		t.Fatal("nothing was encrypted")
	}
	if !bytes.Equal(buf[NodeSize:], next) {
		t.Error("sealing changed the node behind")
	}
	sealed := bytes.Clone(buf)
	if !openNode(buf, buf, s) || !bytes.Equal(buf[:NodeSize], plain) || !bytes.Equal(buf[NodeSize:], next) {
		t.Error("opening does not give back what was sealed")
	}
	sealed[17] ^= 4
	if openNode(sealed, sealed, s) {
		t.Error("a changed node opens")
	}
	if !bytes.Equal(sealed[:NodeSize], make([]byte, NodeSize)) {
		t.Error("a node that does not open leaves bytes behind")
	}
}

func TestNodeCostsTwoAllocations(t *testing.T) {
	buf := make([]byte, NodeSize+tagSize)
	s := slot(stream("key", slotSize))
	if n := testing.AllocsPerRun(100, func() { sealNode(buf, buf, s) }); n > 2 {
		t.Errorf("sealing a node makes %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { openNode(buf, buf, s) }); n > 3 {
		t.Errorf("failing to open a node makes %v allocations", n)
	}
}

func TestDerivedKeys(t *testing.T) {
	wrap := Key(stream("wrap", KeySize))
	digest := [digestSize]byte(stream("digest", digestSize))
	base := func() *derivedKeys { return newDerivedKeys(wrap, digest, shape{size: 5}, FormatV1, "a/b") }
	keysOf := func(d *derivedKeys) string {
		k := make([]byte, 3*keySize)
		if err := d.nodeKeys(1, k); err != nil {
			t.Fatal(err)
		}
		return string(k) + string(d.nonce[:])
	}
	if first, second := keysOf(base()), keysOf(base()); first != second {
		t.Error("the same inputs give different keys")
	}

	// Frozen: another value would make every reproducible file in the world
	// look changed.
	const want = "b2386b6caef78a6e00b0d8726f275b44"
	if got := hex.EncodeToString([]byte(keysOf(base())[:keySize])); got != want {
		t.Errorf("key of node 1 is %s, want %s", got, want)
	}

	other := digest
	other[31] ^= 1
	otherWrap := wrap
	otherWrap[0] ^= 1
	seen := map[string]string{keysOf(base()): "the base"}
	for name, d := range map[string]*derivedKeys{
		"wrap key": newDerivedKeys(otherWrap, digest, shape{size: 5}, FormatV1, "a/b"),
		"digest":   newDerivedKeys(wrap, other, shape{size: 5}, FormatV1, "a/b"),
		"size":     newDerivedKeys(wrap, digest, shape{size: 6}, FormatV1, "a/b"),
		"format":   newDerivedKeys(wrap, digest, shape{size: 5}, FormatV2, "a/b"),
		"path":     newDerivedKeys(wrap, digest, shape{size: 5}, FormatV1, "a/c"),
	} {
		k := keysOf(d)
		if twin, ok := seen[k]; ok {
			t.Errorf("another %s gives the keys of %s", name, twin)
		}
		seen[k] = name
	}

	// Every node has a key of its own, whichever batch it is asked for in.
	d := base()
	all := make([]byte, 1000*keySize)
	if err := d.nodeKeys(1, all); err != nil {
		t.Fatal(err)
	}
	distinct := map[string]bool{}
	for i := 0; i < len(all); i += keySize {
		distinct[string(all[i:i+keySize])] = true
	}
	if len(distinct) != 1000 {
		t.Errorf("1000 nodes have %d keys", len(distinct))
	}
	one := make([]byte, keySize)
	if err := d.nodeKeys(778, one); err != nil || !bytes.Equal(one, all[777*keySize:][:keySize]) {
		t.Errorf("node 778 has another key alone than in a batch (%v)", err)
	}
}

func TestRandomKeysReportTheirSource(t *testing.T) {
	r := &randomKeys{rand: bytes.NewReader(make([]byte, 20))}
	if err := r.nodeKeys(0, make([]byte, 32)); err == nil || !strings.HasPrefix(err.Error(), "draw node keys: ") {
		t.Errorf("a source that ends gives %v", err)
	}
	broken := errors.New("no entropy")
	r = &randomKeys{rand: readerFunc(func([]byte) (int, error) { return 0, broken })}
	if err := r.metadataNonce(make([]byte, nonceSize)); !errors.Is(err, broken) {
		t.Errorf("a broken source gives %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
