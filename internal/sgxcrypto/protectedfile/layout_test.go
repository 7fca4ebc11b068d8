package protectedfile

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestShape(t *testing.T) {
	for _, tc := range []struct{ size, data, hash, nodes int64 }{
		{0, 0, 0, 1},
		{1, 0, 0, 1},
		{3071, 0, 0, 1},
		{3072, 0, 0, 1},
		{3073, 1, 1, 3},
		{4096, 1, 1, 3},
		{7168, 1, 1, 3},
		{7169, 2, 1, 4},
		{396287, 96, 1, 98},
		{396288, 96, 1, 98},
		{396289, 97, 2, 100},
		{400389, 98, 2, 101},
		{13373193, 3265, 35, 3301},
		{MaxPlaintextSize, 1 << 50, 11728124029611, 1 + 1<<50 + 11728124029611},
	} {
		s, err := shapeOf(tc.size)
		if want := (shape{tc.size, tc.data, tc.hash, tc.nodes}); err != nil || s != want {
			t.Errorf("shapeOf(%d) = %+v, %v; want %+v", tc.size, s, err, want)
		}
		if n, err := FileSize(tc.size); err != nil || n != tc.nodes*4096 || n < 0 {
			t.Errorf("FileSize(%d) = %d, %v; want %d", tc.size, n, err, tc.nodes*4096)
		}
	}
	for _, size := range []int64{-1, math.MinInt64, MaxPlaintextSize + 1, math.MaxInt64} {
		if n, err := FileSize(size); err == nil || !strings.Contains(err.Error(), "a size from 0 to 4611686018427387904 is possible") {
			t.Errorf("FileSize(%d) = %d, %v", size, n, err)
		}
	}
}

func TestNodeNumbers(t *testing.T) {
	for _, tc := range []struct{ n, node int64 }{{0, 2}, {95, 97}, {96, 99}, {191, 194}, {192, 196}} {
		if got := dataNodeNumber(tc.n); got != tc.node {
			t.Errorf("data node %d is node %d, want %d", tc.n, got, tc.node)
		}
	}
	for _, tc := range []struct {
		m, node, parent int64
		slot            int
	}{{1, 98, 0, 3072}, {2, 195, 0, 3104}, {32, 3105, 0, 4064}, {33, 3202, 1, 3072}, {64, 6209, 1, 4064}, {65, 6306, 2, 3072}} {
		if got := hashNodeNumber(tc.m); got != tc.node {
			t.Errorf("hash node %d is node %d, want %d", tc.m, got, tc.node)
		}
		if got := parentHash(tc.m); got != tc.parent {
			t.Errorf("hash node %d hangs off %d, want %d", tc.m, got, tc.parent)
		}
		var h hashNode
		h.hashSlot(tc.m)[0] = 1
		if h[tc.slot] != 1 {
			t.Errorf("the slot of hash node %d is not at %d", tc.m, tc.slot)
		}
	}
}

// TestNumbering checks that nodes of all kinds fill a file without gap or
// overlap, whatever the size, and that the tree's links agree.
func TestNumbering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := shapeOf(rapid.Int64Range(0, 1<<27).Draw(t, "size"))
		if err != nil {
			t.Fatal(err)
		}
		seen := make([]bool, s.nodes)
		mark := func(p int64) {
			if seen[p] {
				t.Fatalf("node %d is used twice", p)
			}
			seen[p] = true
		}
		mark(0)
		data := int64(0)
		for m := range s.hash {
			mark(hashNodeNumber(m))
			if m > 0 && (parentHash(m) >= m || m-firstChild(parentHash(m)) >= hashesPerHash || m < firstChild(parentHash(m))) {
				t.Fatalf("hash node %d hangs off %d", m, parentHash(m))
			}
			if s.interior(m) != (firstChild(m) < s.hash) {
				t.Fatalf("interior(%d) is wrong", m)
			}
			for i := range s.dataIn(m) {
				mark(dataNodeNumber(m*dataPerHash + int64(i)))
				data++
			}
			if s.dataIn(m) < 1 {
				t.Fatalf("group %d has no data", m)
			}
		}
		if data != s.data {
			t.Fatalf("%d data nodes in the groups, want %d", data, s.data)
		}
		for p, ok := range seen {
			if !ok {
				t.Fatalf("node %d is not used", p)
			}
		}
		if s.hash > 0 {
			if end := groupStart(s.hash-1) + int64(s.dataIn(s.hash-1))*NodeSize; end < s.size || end-s.size >= NodeSize {
				t.Fatalf("the last data node ends at %d, the plaintext at %d", end, s.size)
			}
		}
	})
}

func TestNormalizePath(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a", "a"},
		{"a/b/c", "a/b/c"},
		{"./sub//x", "sub/x"},
		{"sub/./x", "sub/x"},
		{"sub/../sub/x", "sub/x"},
		{"../w/sub/x", "../w/sub/x"},
		{"../../x", "../../x"},
		{"a/../../x", "../x"},
		{"a/b/../../..", ".."},
		{"/abs/./x/", "/abs/x"},
		{"//abs//x", "/abs/x"},
		{"/..", "/"},
		{"/../../x", "/x"},
		{"/", "/"},
		{"a/", "a"},
		{".", ""},
		{"a/..", ""},
		{"...", "..."},
		{"..a/b..", "..a/b.."},
		{" a / b ", " a / b "},
		{"models/naïve-café/模型.bin", "models/naïve-café/模型.bin"},
		{"\xff\xfe/x", "\xff\xfe/x"},
		{"a\\b", "a\\b"},
		{strings.Repeat("x", MaxPathLen), strings.Repeat("x", MaxPathLen)},
		{"./" + strings.Repeat("x", MaxPathLen) + "/", strings.Repeat("x", MaxPathLen)},
	} {
		got, err := NormalizePath(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("NormalizePath(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
		if got == "" {
			continue
		}
		if again, err := NormalizePath(got); err != nil || again != got {
			t.Errorf("NormalizePath(%q) = %q, %v: not idempotent", got, again, err)
		}
	}
	for _, tc := range []struct{ in, want string }{
		{"", "normalize path: the path is empty"},
		{"a\x00b", "normalize path: the path contains a NUL byte"},
		{strings.Repeat("x", MaxPathLen+1), "normalize path: 772 bytes are too long, a protected file holds a path of at most 771"},
	} {
		if got, err := NormalizePath(tc.in); err == nil || err.Error() != tc.want || got != "" {
			t.Errorf("NormalizePath(%.20q) = %q, %v; want error %q", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{".", "a/..", "/", "/..", "..", "../.."} {
		if _, err := EmbeddablePath(in); err == nil || !strings.Contains(err.Error(), "which names no file") {
			t.Errorf("EmbeddablePath(%q): %v", in, err)
		}
	}
}
