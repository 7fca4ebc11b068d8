package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// ErrUnreachable says that a server could not be reached or did not serve.
var ErrUnreachable = errors.New("the server cannot be reached")

// FetchSpec says which file to fetch. The content is pinned: a file of another
// digest is never left under the destination's name.
type FetchSpec struct {
	URL         string // https or file
	SHA256      string // of the file, 64 lower-case hex digits
	Destination string // appears complete or not at all, readable by its owner alone
	MaxSize     int64  // in bytes; 0: no limit
	// Client is the HTTP client; nil: one that honours the proxy environment,
	// checks certificates against the system's roots, and has no time limit but
	// for servers that stop sending.
	Client *http.Client
	// Progress is told how many bytes of how many are there, -1 when that is not
	// known.
	Progress func(done, total int64)
	// Tries is how often a server is asked that sends nothing new; 0: 5 times,
	// with growing pauses.
	Tries int
	// Wait pauses before the next try; nil: for real.
	Wait func(ctx context.Context, try int) error
}

// Fetched tells what a fetch did.
type Fetched struct {
	File    string `json:"file"`
	Size    int64  `json:"size"`    // in bytes
	SHA256  string `json:"sha256"`  // as pinned
	Resumed int64  `json:"resumed"` // bytes that were there from an earlier try
	Present bool   `json:"present"` // the file was there already
}

// Limits of a fetch. A server that sends nothing for stallTimeout is given up,
// and asked again for what is missing.
const (
	defaultTries  = 5
	stallTimeout  = 60 * time.Second
	headerTimeout = 30 * time.Second
)

// Fetch brings a pinned file here. What has arrived when it is interrupted is
// kept beside the destination, and the next call goes on from there. Redirects
// are followed to https only. Errors wrap [ErrUnreachable] where trying later
// may help, [ErrSourceDigest] where the file is another one.
func Fetch(ctx context.Context, spec FetchSpec) (Fetched, error) {
	u, err := parseFetchURL(spec.URL)
	if err != nil {
		return Fetched{}, err
	}
	fail := func(err error) (Fetched, error) { return Fetched{}, fmt.Errorf("fetch %s: %w", u.shown, err) }
	if b, err := hex.DecodeString(spec.SHA256); err != nil || len(b) != sha256.Size {
		return fail(fmt.Errorf("the SHA-256 %q is not 64 hex digits", spec.SHA256))
	}
	if size, err := sizeIfPinned(ctx, spec); err != nil {
		return fail(err)
	} else if size >= 0 {
		return Fetched{File: spec.Destination, Size: size, SHA256: spec.SHA256, Present: true}, nil
	}
	d, err := openDownload(ctx, spec)
	if err != nil {
		return fail(err)
	}
	defer d.close()
	if u.Scheme == "file" {
		err = d.copyFile(ctx, u.Path)
	} else {
		err = d.get(ctx, u)
	}
	if err != nil {
		if d.done == 0 {
			_ = os.Remove(d.path)
		}
		return fail(err)
	}
	if err := d.commit(); err != nil {
		return fail(err)
	}
	return Fetched{File: spec.Destination, Size: d.done, SHA256: spec.SHA256, Resumed: d.resumed}, nil
}

// CheckFetchURL tells what is wrong with a URL, without what should not be shown
// of it.
func CheckFetchURL(s string) error {
	_, err := parseFetchURL(s)
	return err
}

// fetchURL is a URL with the form in which it may be shown: queries carry
// tokens.
type fetchURL struct {
	*url.URL
	shown string
}

func parseFetchURL(s string) (fetchURL, error) {
	u, err := url.Parse(s)
	if err != nil { // its text has the URL
		return fetchURL{}, errors.New("parse URL: it is not one")
	}
	shown := u.Scheme + "://" + u.Host + u.EscapedPath()
	switch {
	case u.User != nil:
		return fetchURL{}, fmt.Errorf("fetch %s: the URL has a user name or password, which logs and states would keep: use a link that needs none, or fetch the file by other means", shown)
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || u.Path == ""):
		return fetchURL{}, fmt.Errorf("fetch %s: a file URL has three slashes and an absolute path", shown)
	case u.Scheme == "file":
	case u.Scheme != "https":
		return fetchURL{}, fmt.Errorf("fetch %s: the scheme is %q, want https or file", shown, u.Scheme)
	case u.Host == "":
		return fetchURL{}, fmt.Errorf("fetch %s: the URL has no host", shown)
	}
	return fetchURL{u, shown}, nil
}

// sizeIfPinned is the size of the destination if it is the pinned file, or -1.
func sizeIfPinned(ctx context.Context, spec FetchSpec) (int64, error) {
	f, info, err := openRegular(spec.Destination)
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("replace %s: %w", spec.Destination, err)
	}
	defer func() { _ = f.Close() }()
	if err := checkSHA256(ctx, f, spec.SHA256); errors.Is(err, ErrSourceDigest) {
		return -1, fmt.Errorf("replace %s: a file is there, and it is another one: move it away", spec.Destination)
	} else if err != nil {
		return -1, err
	}
	return info.Size(), nil
}

// download is a file on its way: what has arrived, and the digest of it.
type download struct {
	spec    FetchSpec
	file    *os.File
	path    string // of the part that has arrived
	sum     hash.Hash
	done    int64
	resumed int64
	total   int64 // -1 while it is not known
}

// partName is where the part that has arrived is kept. It carries the digest,
// so that it is never taken for the beginning of another file.
func partName(spec FetchSpec) string {
	dir, name := filepath.Split(spec.Destination)
	return filepath.Join(dir, "."+strings.TrimPrefix(name, ".")+"."+shortDigest(spec.SHA256)+".part")
}

func openDownload(ctx context.Context, spec FetchSpec) (*download, error) {
	d := &download{spec: spec, path: partName(spec), sum: sha256.New(), total: -1}
	var err error
	if d.file, err = os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("write %s: %w", d.path, pathCause(err))
	}
	if d.done, err = io.Copy(contextWriter{ctx, d.sum}, d.file); err != nil {
		d.close()
		return nil, fmt.Errorf("read %s: %w", d.path, pathCause(err))
	}
	d.resumed = d.done
	return d, nil
}

func (d *download) close() { _ = d.file.Close() }

// restart throws away what has arrived.
func (d *download) restart() error {
	if err := d.file.Truncate(0); err != nil {
		return fmt.Errorf("write %s: %w", d.path, pathCause(err))
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("write %s: %w", d.path, pathCause(err))
	}
	d.sum.Reset()
	d.done, d.resumed, d.total = 0, 0, -1
	return nil
}

// Write takes what arrives.
func (d *download) Write(p []byte) (int, error) {
	if limit := d.spec.MaxSize; limit > 0 && d.done+int64(len(p)) > limit {
		return 0, errTooLarge{limit}
	}
	n, err := d.file.Write(p)
	d.sum.Write(p[:n])
	d.done += int64(n)
	if err != nil {
		return n, localError{fmt.Errorf("write %s: %w", d.path, pathCause(err))}
	}
	if d.spec.Progress != nil {
		d.spec.Progress(d.done, d.total)
	}
	return n, nil
}

// errTooLarge says that a file is larger than it may be.
type errTooLarge struct{ limit int64 }

func (e errTooLarge) Error() string {
	return fmt.Sprintf("it has more than the %d bytes that are allowed", e.limit)
}

// localError is a failure that no server can help with.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

func (d *download) matches() error {
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.spec.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, not %s", ErrSourceDigest, got, d.spec.SHA256)
	}
	return nil
}

// commit gives the file its name. The digest is taken once more from the disk,
// because another process may have written to the same part.
func (d *download) commit() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", d.path, pathCause(err))
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read %s: %w", d.path, pathCause(err))
	}
	if err := checkSHA256(context.Background(), d.file, d.spec.SHA256); err != nil {
		_ = os.Remove(d.path)
		return err
	}
	if err := os.Rename(d.path, d.spec.Destination); err != nil {
		return fmt.Errorf("write %s: %w", d.spec.Destination, pathCause(err))
	}
	return atomicfile.SyncDir(filepath.Dir(d.spec.Destination))
}

func (d *download) copyFile(ctx context.Context, path string) error {
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := d.restart(); err != nil {
		return err
	}
	d.total = info.Size()
	if _, err := io.Copy(contextWriter{ctx, d}, f); err != nil {
		return err
	}
	return d.discard(d.matches())
}

// discard removes a part that is of no use any more.
func (d *download) discard(err error) error {
	if err != nil {
		_ = os.Remove(d.path)
	}
	return err
}
