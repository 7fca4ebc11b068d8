package remote

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/pkg/sftp"
)

// chunkSize is what is sent before an acknowledgement is waited for, in bytes:
// large enough for a far host, small enough to be sent again.
const chunkSize = 2 << 20

// Put implements [Executor].
func (x *SSH) Put(ctx context.Context, f File) error {
	err := bounded(ctx, func() error { return x.put(ctx, f) })
	if err != nil {
		return fmt.Errorf("put %s on %s: %w", f.Path, x, err)
	}
	return nil
}

// bounded returns soon after ctx ends, even where the host has gone without a
// word and what work waits for comes only when the connection is given up.
func bounded(ctx context.Context, work func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- work() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case err := <-ended:
		return err
	case <-patience.C:
		return context.Cause(ctx)
	}
}

func (x *SSH) put(ctx context.Context, f File) error {
	if !path.IsAbs(f.Path) {
		return errNotAbsolute
	}
	client, err := x.files()
	if err != nil {
		return err
	}
	digest := sha256.New()
	// Without a digest it would not be known afterwards whether the far file is the same.
	n, err := io.Copy(digest, &progressReader{r: io.NewSectionReader(f.Body, 0, f.Size), ctx: ctx})
	switch {
	case err != nil:
		return fmt.Errorf("read source: %w", err)
	case n != f.Size:
		return fmt.Errorf("read source: it ended after %d of %d bytes", n, f.Size)
	}
	part := partName(f, digest)
	if f.Secret {
		defer func() { _ = client.Remove(part) }() // gone already if all went well
	}
	for attempt := 0; ; attempt++ {
		resumed, err := x.send(ctx, client, part, f)
		if err != nil {
			return err
		}
		err = x.compare(ctx, part, digest)
		if err == nil {
			break
		}
		if errors.Is(err, errDiffers) {
			_ = client.Remove(part)
			if resumed && attempt == 0 { // what was there was not the beginning of this
				continue
			}
		}
		return err
	}
	if err := finishPart(client, part, f); err != nil {
		return err
	}
	return nil
}

// partName is the name under which a file is written. It is the same for the
// same content, so that the next attempt finds it, unless that is secret.
func partName(f File, digest hash.Hash) string {
	id := digest.Sum(nil)[:8]
	if f.Secret {
		_, _ = rand.Read(id) // never fails
	}
	return path.Join(path.Dir(f.Path), ".cc-tmp-"+hex.EncodeToString(id)+"-"+path.Base(f.Path))
}

// send writes the content to part, or the rest of it if its beginning is there.
func (x *SSH) send(ctx context.Context, client *sftp.Client, part string, f File) (resumed bool, err error) {
	offset := int64(0)
	if info, err := client.Lstat(part); err == nil {
		if !info.Mode().IsRegular() {
			return false, fmt.Errorf("write %s: it is there and is not a regular file", part)
		}
		if info.Size() > 0 && info.Size() <= f.Size && !f.Secret {
			// The last chunk may have holes: its pieces are written side by side.
			offset = (info.Size() - 1) / chunkSize * chunkSize
		}
	}
	flags := os.O_WRONLY | os.O_CREATE
	if offset == 0 {
		flags |= os.O_TRUNC
	}
	if f.Secret {
		flags |= os.O_EXCL
	}
	defer func() { err = explainFailure(client, part, err) }()
	file, err := client.OpenFile(part, flags)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", part, sftpError(err))
	}
	defer func() { _ = file.Close() }()
	// Before anything is in it.
	if err := file.Chmod(0o600); err != nil {
		return false, fmt.Errorf("write %s: %w", part, sftpError(err))
	}
	buf := make([]byte, min(chunkSize, max(f.Size, 1)))
	for at := offset; at < f.Size; {
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		chunk := buf[:min(chunkSize, f.Size-at)]
		if n, err := f.Body.ReadAt(chunk, at); n < len(chunk) {
			return false, fmt.Errorf("read source: %w", err)
		}
		if _, err := file.WriteAt(chunk, at); err != nil {
			return false, fmt.Errorf("write %s: %w", part, sftpError(err))
		}
		at += int64(len(chunk))
		if f.Progress != nil {
			f.Progress(at)
		}
	}
	if err := file.Truncate(f.Size); err != nil {
		return false, fmt.Errorf("write %s: %w", part, sftpError(err))
	}
	// To the disk before the rename; not every server can.
	var status *sftp.StatusError
	if err := file.Sync(); err != nil && (!errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxOpUnsupported) {
		return false, fmt.Errorf("write %s: %w", part, sftpError(err))
	}
	return offset > 0, nil
}

// fullBelow is the number of bytes below which a file system is called full: it
// keeps blocks for itself, and what is written side by side needs several.
const fullBelow = 1 << 20

// explainFailure finds out what the server means by "failure", which in its
// protocol (SSH_FX_FAILURE) is all that it can say of a full disk.
func explainFailure(client *sftp.Client, part string, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	disk, statErr := client.StatVFS(path.Dir(part))
	switch {
	case statErr != nil: // not every server can tell
		return err
	case disk.Bavail*disk.Frsize < fullBelow:
		return fmt.Errorf("%w: %d bytes are free there: %w", syscall.ENOSPC, disk.Bavail*disk.Frsize, err)
	case disk.Files > 0 && disk.Favail == 0:
		return fmt.Errorf("%w: no more files fit there: %w", syscall.ENOSPC, err)
	default:
		return err
	}
}

var errDiffers = errors.New("what arrived is not what was sent")

// compare asks the far side for the digest of what it has.
func (x *SSH) compare(ctx context.Context, part string, digest hash.Hash) error {
	out, err := Output(ctx, x, "sha256sum", "--", part)
	if err != nil {
		return fmt.Errorf("verify what arrived: %w", err)
	}
	// A name with a backslash or a newline makes the line start with a backslash.
	found, _, _ := strings.Cut(strings.TrimPrefix(string(out), `\`), " ")
	if found != hex.EncodeToString(digest.Sum(nil)) {
		return errDiffers
	}
	return nil
}

// finishPart gives a file its owner, its mode and its name.
func finishPart(client *sftp.Client, part string, f File) error {
	if f.Owner != nil {
		if err := client.Chown(part, f.Owner.UID, f.Owner.GID); err != nil {
			return fmt.Errorf("give to user %d: %w", f.Owner.UID, sftpError(err))
		}
	}
	if err := client.Chmod(part, f.Mode.Perm()); err != nil {
		return fmt.Errorf("set mode: %w", sftpError(err))
	}
	if err := client.PosixRename(part, f.Path); err != nil {
		return fmt.Errorf("rename: %w", sftpError(err))
	}
	return nil
}

// Get implements [Executor].
func (x *SSH) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	fail := func(err error) error { return fmt.Errorf("get %s from %s: %w", name, x, sftpError(err)) }
	var data []byte
	err := bounded(ctx, func() error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		client, err := x.files()
		if err != nil {
			return err
		}
		f, err := client.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		found, err := io.ReadAll(io.LimitReader(&progressReader{r: f, ctx: ctx}, limit+1))
		if err == nil && int64(len(found)) > limit {
			err = fmt.Errorf("it is longer than %d bytes", limit)
		}
		if err == nil {
			data = found
		}
		return err
	})
	if err != nil {
		return nil, fail(err)
	}
	return data, nil
}

// sftpError marks a broken connection, and gives "not exist" its usual identity.
func sftpError(err error) error {
	switch {
	case errors.Is(err, sftp.ErrSSHFxConnectionLost), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		return fmt.Errorf("%w: %w", ErrConnectionLost, err)
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	}
	return err
}

// sftpServers is where systems keep the program that the SFTP subsystem is.
var sftpServers = []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"}

// files opens the SFTP session, once for as long as it lasts.
func (x *SSH) files() (*sftp.Client, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sftp != nil {
		return x.sftp, nil
	}
	client, err := x.openSFTP()
	if err != nil {
		return nil, fmt.Errorf("open SFTP session: %w", err)
	}
	x.sftp = client
	go func() { // its server may end before the connection does
		_ = client.Wait()
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.sftp == client {
			x.sftp = nil
		}
	}()
	return client, nil
}

func (x *SSH) openSFTP() (*sftp.Client, error) {
	options := []sftp.ClientOption{sftp.UseConcurrentWrites(true)}
	if !x.config.Sudo {
		client, err := sftp.NewClient(x.client, options...)
		if err != nil {
			return nil, lost(err)
		}
		return client, nil
	}
	// The subsystem would run as the user.
	session, err := x.client.NewSession()
	if err != nil {
		return nil, lost(err)
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	script := "for p in " + strings.Join(sftpServers, " ") + `; do [ -x "$p" ] && exec "$p"; done; exit 127`
	if err := session.Start(x.line([]string{"sh", "-c", script})); err != nil {
		return nil, lost(err)
	}
	client, err := sftp.NewClientPipe(out, in, options...)
	if err != nil {
		_ = session.Close()
		return nil, fmt.Errorf("start sftp-server as root with `sudo -n`: %w", err)
	}
	return client, nil
}
