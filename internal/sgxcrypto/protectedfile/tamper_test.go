package protectedfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// tamperSizes have every shape: metadata only, one data node, a full root, two
// and three levels of hash nodes.
var tamperSizes = []int{0, 1, inlineSize, inlineSize + 1, inlineSize + groupData, inlineSize + groupData + 1, inlineSize + 33*groupData + 1}

// specimen is a file to tamper with.
type specimen struct {
	name        string
	format      Format
	plain, file []byte
	shape       shape
}

func specimens(t *testing.T) []*specimen {
	t.Helper()
	var all []*specimen
	for _, size := range tamperSizes {
		for _, format := range []Format{FormatV1, FormatV2} {
			plain := stream("specimen", size)
			s, err := shapeOf(int64(size))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &specimen{
				name: fmt.Sprintf("%d bytes, v%d", size, format), format: format,
				plain: plain, file: encrypted(t, plain, WriterOptions{Format: format}), shape: s,
			})
		}
	}
	return all
}

// openKinds are findings of opening a file: nothing can have been written.
var openKinds = []Kind{
	KindBadMagic, KindUnsupportedVersion, KindTruncated, KindMetadataMAC, KindVersionSwapped, KindMetadataInvalid, KindWrongPath,
	KindTrailingBytes, KindPendingRecovery, KindRecoveryInvalid, KindTrailingNodes, KindMinorVersion, KindUnknownFlags, KindPadding,
}

// refuses decrypts a tampered file and expects a finding of a kind, at a node.
// Whatever was written before must be plaintext, whole groups of it.
func (s *specimen) refuses(t *testing.T, what string, file []byte, kind Kind, node int64) {
	t.Helper()
	out := &memory{}
	_, err := Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath})
	s.check(t, what, err, kind, node)
	if slices.Contains(openKinds, kind) && len(out.b) > 0 {
		t.Errorf("%s, %s: %d bytes were written", s.name, what, len(out.b))
	}
	for i, b := range out.b {
		if b != 0 && b != s.plain[i] {
			t.Fatalf("%s, %s: byte %d of the output is not of the plaintext", s.name, what, i)
		}
	}
	if _, err := Verify(t.Context(), bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{AllowAnyPath: true}); err == nil && kind != KindWrongPath {
		t.Errorf("%s, %s: verify accepts it", s.name, what)
	}
}

func (s *specimen) check(t *testing.T, what string, err error, kind Kind, node int64) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || e.Node != node {
		t.Errorf("%s, %s: %v, want %q at node %d", s.name, what, err, kind, node)
		return
	}
	if e.Offset < node*NodeSize || e.Offset > (node+1)*NodeSize {
		t.Errorf("%s, %s: offset %d is not in node %d", s.name, what, e.Offset, node)
	}
}

// warns decrypts a file whose tampering the format does not see: the plaintext
// is right, there is a warning, and Strict refuses it.
func (s *specimen) warns(t *testing.T, what string, file []byte, kind Kind) {
	t.Helper()
	out := &memory{}
	report, err := Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath})
	if err != nil || !bytes.Equal(out.b, s.plain) || len(report.Warnings) != 1 || report.Warnings[0].Kind != kind {
		t.Errorf("%s, %s: %d bytes, warnings %v, %v; want a warning of %q", s.name, what, len(out.b), report.Warnings, err, kind)
	}
	out = &memory{}
	_, err = Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath, Strict: true})
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || len(out.b) > 0 {
		t.Errorf("%s, %s: strict: %v, want %q", s.name, what, err, kind)
	}
}

// headerKind is what a flipped bit of node 0 must lead to; warning tells
// whether that is only warned of.
func (s *specimen) headerKind(at int, bit byte) (kind Kind, warning bool) {
	body := s.format.bodyOffset()
	switch {
	case at < offMajor:
		return KindBadMagic, false
	case at == offMajor:
		return KindUnsupportedVersion, false
	case at == offMinor:
		return KindMinorVersion, true
	case s.format == FormatV2 && at == offFlags && bit == flagPending:
		return KindPendingRecovery, false
	case s.format == FormatV2 && at == offFlags:
		return KindUnknownFlags, true
	case at >= body+metaSize:
		return KindPadding, true
	default:
		return KindMetadataMAC, false
	}
}

// TestTamperNode0 flips every single bit of node 0.
func TestTamperNode0(t *testing.T) {
	for _, s := range specimens(t) {
		if s.shape.hash > 1 {
			continue // node 0 is no different, and opening takes longer
		}
		file := bytes.Clone(s.file)
		for at := range NodeSize {
			for bit := byte(1); bit != 0; bit <<= 1 {
				file[at] ^= bit
				what := fmt.Sprintf("bit %#x of byte %d", bit, at)
				kind, warning := s.headerKind(at, bit)
				if warning && bit == 1 { // the whole way for one bit of each byte
					s.warns(t, what, file, kind)
				}
				r, err := NewReader(bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath})
				var e *Error
				switch {
				case warning && (err != nil || len(r.Warnings()) != 1 || r.Warnings()[0].Kind != kind || r.Warnings()[0].Offset != int64(at)):
					t.Fatalf("%s, %s: %v, want a warning of %q", s.name, what, err, kind)
				case !warning && (!errors.As(err, &e) || e.Kind != kind || e.Node != 0):
					t.Fatalf("%s, %s: %v, want %q", s.name, what, err, kind)
				}
				file[at] ^= bit
			}
		}
	}
}

// sampledNodes are all nodes of a small file, and of a large one those at the
// edges of groups and levels.
func (s *specimen) sampledNodes() []int64 {
	var nodes []int64
	for p := int64(1); p < s.shape.nodes; p++ {
		within := (p - 1) % groupNodes
		if s.shape.nodes < 10 || within <= 1 || within == 96 || p == s.shape.nodes-1 {
			nodes = append(nodes, p)
		}
	}
	return nodes
}

func kindOf(node int64) Kind {
	if (node-1)%groupNodes == 0 {
		return KindHashNodeMAC
	}
	return KindDataNodeMAC
}

// TestTamperNodes flips bits of the nodes behind node 0: used and unused slots,
// plaintext and what follows its end.
func TestTamperNodes(t *testing.T) {
	for _, s := range specimens(t) {
		file := bytes.Clone(s.file)
		for _, p := range s.sampledNodes() {
			for _, at := range []int64{0, 15, 16, 31, 2000, offHashSlots, NodeSize - 1} {
				if s.shape.nodes > 1000 && at != 16 {
					continue
				}
				off := p*NodeSize + at
				file[off] ^= 1 << (at % 8)
				s.refuses(t, fmt.Sprintf("a bit of byte %d of node %d", at, p), file, kindOf(p), p)
				file[off] ^= 1 << (at % 8)
			}
			old := bytes.Clone(file[p*NodeSize:][:NodeSize])
			for name, fill := range map[string]byte{"zero": 0, "ones": 0xff} {
				if s.shape.nodes > 1000 {
					continue
				}
				copy(file[p*NodeSize:], bytes.Repeat([]byte{fill}, NodeSize))
				s.refuses(t, fmt.Sprintf("node %d filled with %s", p, name), file, kindOf(p), p)
			}
			copy(file[p*NodeSize:], old)
		}
	}
}

func TestTamperLength(t *testing.T) {
	for _, s := range specimens(t) {
		full := len(s.file)
		cuts := []int{0, 1, 7, 8, 9, 10, 41, 57, 58, 59, 4000, NodeSize - 1}
		for _, p := range append(s.sampledNodes(), 1) {
			at := int(p) * NodeSize
			cuts = append(cuts, at-1, at, at+1, at+100)
		}
		for _, n := range cuts {
			if n < full {
				s.refuses(t, fmt.Sprintf("cut to %d bytes", n), s.file[:n], KindTruncated, int64(n/NodeSize))
			}
		}
		for _, n := range []int{1, 100, NodeSize - 1, NodeSize + 1, 3*NodeSize - 1} {
			s.refuses(t, fmt.Sprintf("%d more bytes", n), append(bytes.Clone(s.file), make([]byte, n)...), KindTrailingBytes, s.shape.nodes)
		}
		for _, n := range []int{1, 2, 97} {
			s.warns(t, fmt.Sprintf("%d more zero nodes", n), append(bytes.Clone(s.file), make([]byte, n*NodeSize)...), KindTrailingNodes)
			s.warns(t, fmt.Sprintf("%d more nodes", n), append(bytes.Clone(s.file), bytes.Repeat([]byte{0xff}, n*NodeSize)...), KindTrailingNodes)
		}
	}
}

// TestTamperReplay puts authentic nodes into the wrong place.
func TestTamperReplay(t *testing.T) {
	for _, s := range specimens(t) {
		node := func(file []byte, p int64) []byte { return file[p*NodeSize:][:NodeSize] }
		nodes := s.sampledNodes()
		changed := bytes.Clone(s.plain)
		if len(changed) > 0 {
			changed[0] ^= 1
		}
		older := encrypted(t, s.plain, WriterOptions{Format: s.format}) // of the same plaintext, even
		for i, p := range nodes {
			file := bytes.Clone(s.file)
			copy(node(file, p), node(older, p))
			s.refuses(t, fmt.Sprintf("node %d of another version of the file", p), file, kindOf(p), p)
			if i+1 < len(nodes) {
				q := nodes[i+1]
				file := bytes.Clone(s.file)
				copy(node(file, p), node(s.file, q))
				copy(node(file, q), node(s.file, p))
				s.refuses(t, fmt.Sprintf("nodes %d and %d swapped", p, q), file, kindOf(p), p)
				copy(node(file, p), node(s.file, p))
				s.refuses(t, fmt.Sprintf("node %d in place of node %d", p, q), file, kindOf(q), q)
			}
			if s.shape.nodes > 1000 && i > 6 {
				break
			}
		}
		if s.shape.hash > 0 {
			file := bytes.Clone(s.file)
			copy(node(file, 0), node(older, 0))
			s.refuses(t, "node 0 of another version of the file", file, KindHashNodeMAC, 1)
			// A reproducible file of another plaintext shares no node either.
			dst, other := &memory{}, &memory{}
			for d, p := range map[*memory][]byte{dst: s.plain, other: changed} {
				if _, err := EncryptReproducible(t.Context(), d, bytes.NewReader(p), int64(len(p)), testKey, WriterOptions{Path: testPath, Format: s.format}); err != nil {
					t.Fatal(err)
				}
			}
			last := s.shape.nodes - 1
			copy(node(dst.b, last), node(other.b, last))
			s.refuses(t, "a node of another reproducible file", dst.b, kindOf(last), last)
		}
	}
}

func TestTamperIdentity(t *testing.T) {
	for _, s := range specimens(t) {
		src := bytes.NewReader(s.file)
		for i := range KeySize {
			key := testKey
			key[i] ^= 0x10
			_, err := NewReader(src, src.Size(), key, ReaderOptions{Path: testPath})
			s.check(t, "wrong key", err, KindMetadataMAC, 0)
		}
		for _, path := range []string{"models/1/saved_model.p", testPath + "b", "/" + testPath, "models/2/saved_model.pb", strings.ToUpper(testPath)} {
			_, err := NewReader(src, src.Size(), testKey, ReaderOptions{Path: path})
			s.check(t, "path "+path, err, KindWrongPath, 0)
		}
		swapped := bytes.Clone(s.file)
		swapped[offMajor] = byte(FormatV1 + FormatV2 - s.format)
		s.refuses(t, "version swapped", swapped, KindVersionSwapped, 0)
	}
}

// seal makes a file of metadata that no writer would make.
func seal(t *testing.T, format Format, change func(*metadata)) []byte {
	t.Helper()
	var meta metadata
	copy(meta[:], testPath)
	change(&meta)
	var head [NodeSize]byte
	if err := sealHeader(&head, &meta, testKey, format, &randomKeys{}); err != nil {
		t.Fatal(err)
	}
	return head[:]
}

// TestInvalidMetadata is about files of somebody who has the key.
func TestInvalidMetadata(t *testing.T) {
	for _, format := range []Format{FormatV1, FormatV2} {
		for _, tc := range []struct {
			name   string
			change func(*metadata)
			kind   Kind
			want   string
		}{
			{"endless path", func(m *metadata) { copy(m[:], bytes.Repeat([]byte("x"), pathSize)) }, KindMetadataInvalid, "the path in the metadata has no end"},
			{"size 2^64-1", func(m *metadata) { m.setSize(1<<64 - 1) }, KindMetadataInvalid, "the plaintext size in the metadata is 18446744073709551615 bytes, more than any file has"},
			{"size 2^63", func(m *metadata) { m.setSize(1 << 63) }, KindMetadataInvalid, "more than any file has"},
			{"size 2^62", func(m *metadata) { m.setSize(1 << 62) }, KindTruncated, "truncated: 4096 bytes found, 4611686018427387904 bytes of plaintext take 4659724414452678656"},
			{"no nodes for its size", func(m *metadata) { m.setSize(inlineSize + 1) }, KindTruncated, "truncated: 4096 bytes found, 3073 bytes of plaintext take 12288"},
			{"path not normalised", func(m *metadata) { copy(m[:], "models//1/saved_model.pb\x00") }, KindWrongPath, "Gramine 1.3 and later normalise only the one in the manifest and refuse it; encrypt it again"},
			{"empty path", func(m *metadata) { clear(m[:pathSize]) }, KindWrongPath, `it was encrypted for the path "", not "models/1/saved_model.pb"`},
		} {
			file := seal(t, format, tc.change)
			_, err := NewReader(bytes.NewReader(file), int64(len(file)), testKey, ReaderOptions{Path: testPath})
			var e *Error
			if !errors.As(err, &e) || e.Kind != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("v%d, %s: %v, want %q with %q", format, tc.name, err, tc.kind, tc.want)
			}
		}
		// Leftovers of a file that was longer once are no error.
		file := seal(t, format, func(m *metadata) {
			m.setSize(5)
			copy(m.inline(), "12345 stale")
			copy(m.root(), stream("stale", slotSize))
			copy(m[100:], "stale path") // behind the NUL
		})
		if got := decrypted(t, file, ReaderOptions{}); string(got) != "12345" {
			t.Errorf("v%d, leftovers: %q", format, got)
		}
	}
}

// interrupted is a file of version 2 in the middle of a write by Gramine 1.9,
// with its recovery file: some nodes are new already.
func interrupted(t *testing.T, before, after []byte, written ...int64) (file, log []byte) {
	t.Helper()
	file = bytes.Clone(before)
	file[offFlags] |= flagPending
	nodes := int64(len(before) / NodeSize)
	for p := nodes - 1; p >= 0; p-- {
		log = binary.LittleEndian.AppendUint64(log, uint64(p))
		log = append(log, before[p*NodeSize:][:NodeSize]...)
	}
	for _, p := range written {
		if need := int(p+1) * NodeSize; need > len(file) {
			file = append(file, make([]byte, need-len(file))...)
		}
		copy(file[p*NodeSize:][:NodeSize], after[p*NodeSize:])
	}
	return file, log
}

func TestRecovery(t *testing.T) {
	plain := stream("before", 30000)
	before := encrypted(t, plain, WriterOptions{Format: FormatV2})
	after := encrypted(t, stream("after", 40000), WriterOptions{Format: FormatV2})
	for name, written := range map[string][]int64{"the flag only": nil, "data": {3, 4, 9}, "data and the root": {3, 2, 1}} {
		file, log := interrupted(t, before, after, written...)
		read := func(opts ReaderOptions) ([]byte, error) {
			opts.Path = testPath
			out := &memory{}
			_, err := Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), testKey, opts)
			return out.b, err
		}
		fails := func(what string, opts ReaderOptions, kind Kind, want string) {
			t.Helper()
			_, err := read(opts)
			var e *Error
			if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: %v, want %q with %q", name, what, err, kind, want)
			}
		}
		with := func(log []byte) ReaderOptions {
			return ReaderOptions{Recovery: bytes.NewReader(log), RecoverySize: int64(len(log))}
		}
		fails("without recovery file", ReaderOptions{}, KindPendingRecovery, "its recovery file (<name>.gramine.recovery) restores the content from before")
		got, err := read(with(log))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s, recovered: %d bytes, %v", name, len(got), err)
		}
		// As it is: readable as long as no node of the tree was written.
		got, err = read(ReaderOptions{AllowPending: true})
		if len(written) == 0 && (err != nil || !bytes.Equal(got, plain)) {
			t.Errorf("%s, as it is: %d bytes, %v", name, len(got), err)
		}
		if len(written) > 0 {
			fails("as it is", ReaderOptions{AllowPending: true}, kindOf(slices.Min(written)), "the authentication tag does not match")
		}

		fails("empty recovery file", with(nil), KindRecoveryInvalid, "the recovery file has 0 bytes, want a multiple of 4104")
		fails("cut recovery file", with(log[:len(log)-1]), KindRecoveryInvalid, "want a multiple of 4104")
		fails("node 0 missing", with(log[:len(log)-recordSize]), KindRecoveryInvalid, "the write is still marked as interrupted")
		huge := bytes.Clone(log)
		binary.LittleEndian.PutUint64(huge, 1<<60)
		fails("absurd node", with(huge), KindRecoveryInvalid, "the recovery file restores node 1152921504606846976 of a file that has")
		forged := bytes.Clone(log)
		forged[5*recordSize+8] ^= 1
		fails("changed record", with(forged), kindOf(int64(len(before)/NodeSize)-6), "the authentication tag does not match")
	}
	// A mark that the host has set on an intact file changes nothing else.
	marked := bytes.Clone(before)
	marked[offFlags] |= flagPending
	if h, err := Inspect(bytes.NewReader(marked), int64(len(marked))); err != nil || !h.Pending {
		t.Errorf("inspect: %+v, %v", h, err)
	}
	if _, err := Rewrap(marked[:NodeSize], testKey, Key{9}); err == nil || !strings.Contains(err.Error(), "a write to the file was interrupted") {
		t.Errorf("rewrap: %v", err)
	}
	// Without the mark a recovery file is not looked at.
	if _, err := NewReader(bytes.NewReader(before), int64(len(before)), testKey, ReaderOptions{Path: testPath, Recovery: bytes.NewReader(nil), RecoverySize: 3}); err != nil {
		t.Errorf("recovery file of an intact file: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	other := testKey
	other[5] ^= 1
	for _, s := range specimens(t) {
		dirty := bytes.Clone(s.file[:NodeSize])
		dirty[offMinor], dirty[NodeSize-1] = 7, 7
		for _, node := range [][]byte{s.file[:NodeSize], dirty} {
			fresh, err := Rewrap(node, testKey, other)
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			file := append(bytes.Clone(fresh), s.file[NodeSize:]...)
			out := &memory{}
			if _, err := Decrypt(t.Context(), out, bytes.NewReader(file), int64(len(file)), other, ReaderOptions{Path: testPath, Strict: true}); err != nil || !bytes.Equal(out.b, s.plain) {
				t.Errorf("%s: %d bytes, %v", s.name, len(out.b), err)
			}
			s.refuses(t, "rewrapped, old key", file, KindMetadataMAC, 0)
			again, err := Rewrap(node, testKey, other)
			if err != nil || bytes.Equal(again[offNonce:offTag], fresh[offNonce:offTag]) {
				t.Errorf("%s: the nonce is not fresh (%v)", s.name, err)
			}
		}
	}
	file := encrypted(t, nil, WriterOptions{})
	for _, tc := range []struct {
		name     string
		node     []byte
		old, new Key
		want     string
	}{
		{"wrong key", file, other, testKey, "the authentication tag of the metadata does not match"},
		{"same key", file, testKey, testKey, "rewrap: the new wrap key is the old one"},
		{"no key", file, testKey, Key{}, "rewrap: the wrap key is all zero"},
		{"short", file[:4095], testKey, other, "truncated: 4095 bytes found"},
		{"no protected file", make([]byte, NodeSize), testKey, other, "bad magic"},
	} {
		if node, err := Rewrap(tc.node, tc.old, tc.new); err == nil || !strings.Contains(err.Error(), tc.want) || node != nil {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestKindNames(t *testing.T) {
	for k := KindBadMagic; k <= KindPadding; k++ {
		if strings.HasPrefix(k.String(), "kind ") {
			t.Errorf("kind %d has no name", k)
		}
	}
	if got := Kind(200).String(); got != "kind 200" {
		t.Errorf("an unknown kind is %q", got)
	}
}
