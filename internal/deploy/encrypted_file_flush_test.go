package deploy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// TestReserve checks that space which no device has is missed before anything
// is encrypted.
func TestReserve(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	out := &flushing{File: f}
	if err := out.reserve(reserveFrom - 1); err != nil {
		t.Error(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("a small file was reserved: %v", err)
	}
	if err := out.reserve(reserveFrom); err != nil {
		t.Error(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 {
		t.Skip("the system or the file system reserves nothing")
	}
	if info.Size() != reserveFrom {
		t.Errorf("%d bytes were reserved, want %d", info.Size(), reserveFrom)
	}
	if err := out.reserve(protectedfile.MaxPlaintextSize); err == nil || !strings.HasPrefix(err.Error(), "reserve 4611686018427387904 bytes: ") {
		t.Errorf("reserving 4 EiB: %v", err)
	}
}

// TestReservedLengths checks that what is reserved is what is written: nothing
// is left behind the end.
func TestReservedLengths(t *testing.T) {
	f := newEFile(t, reserveFrom+5)
	next, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	want, err := protectedfile.FileSize(reserveFrom + 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, reproducible := range []bool{false, true} {
		spec := f.spec()
		spec.Reproducible = reproducible
		f.encrypt(t, spec)
		if got := int64(len(getFile(t, f.dst))); got != want {
			t.Errorf("reproducible %v: %d bytes, want %d", reproducible, got, want)
		}
	}
	// Nodes that are left over stay behind when every node is encrypted anew.
	putFile(t, f.dst, append(getFile(t, f.dst), make([]byte, 3*protectedfile.NodeSize)...), 0o640)
	if _, err := RewrapFile(t.Context(), RewrapSpec{Path: f.dst, OldKey: f.key, NewKey: next, Deep: true}); err != nil {
		t.Fatal(err)
	}
	if got := int64(len(getFile(t, f.dst))); got != want {
		t.Errorf("encrypted anew: %d bytes, want %d", got, want)
	}
	out := filepath.Join(f.dir, "out")
	if _, err := DecryptFile(t.Context(), DecryptSpec{Source: f.dst, Destination: out, Key: next, Options: protectedfile.ReaderOptions{Path: "models/x", Strict: true}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(getFile(t, out), f.plain) {
		t.Error("the plaintext does not come back")
	}
}

// TestFileJobs checks that a number that was asked for is kept.
func TestFileJobs(t *testing.T) {
	if got := fileJobs(5); got != 5 {
		t.Errorf("%d jobs, want 5", got)
	}
	if got := fileJobs(0); got < 2 {
		t.Errorf("%d jobs by default", got)
	}
}

// TestUnlessCancelled has a device that takes for ever.
func TestUnlessCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	syncing, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	result := make(chan error)
	go func() {
		result <- unlessCancelled(ctx, func() error {
			close(syncing)
			<-release
			return nil
		})
	}()
	<-syncing
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	broken := errors.New("bad sector")
	if err := unlessCancelled(t.Context(), func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the device", err)
	}
}

// TestAbortWhileSyncing checks that a file can be closed and removed while it
// is synced, as it is when that is cancelled.
func TestAbortWhileSyncing(t *testing.T) {
	f := newEFile(t, 4<<20)
	ctx, cancel := context.WithCancel(t.Context())
	spec := f.spec()
	spec.Progress = func(n int64) {
		if n <= 3072 { // the very last call: node 0 is written
			cancel()
		}
	}
	if _, err := EncryptFile(ctx, spec); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want none or that of the context", err)
	} else if err != nil {
		f.nothingElse(t, "plain")
	}
}
