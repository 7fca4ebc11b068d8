package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/filelock"
)

// State is what a running server says of itself in its state file, so that who started it finds it again.
type State struct {
	PID          int       `json:"pid"`
	Started      time.Time `json:"started"`
	ConfigSHA256 string    `json:"config_sha256"` // of the configuration in force, which is not always the one on disk
	Listen       string    `json:"listen"`        // host:port that enclaves connect to
	Admin        string    `json:"admin,omitempty"`
	AdminTLS     bool      `json:"admin_tls,omitempty"` // which is mutual
	Health       string    `json:"health,omitempty"`
	Version      string    `json:"version"`
}

// ErrInUse is the error of a state file that another running server holds.
var ErrInUse = filelock.ErrHeld

// File is the state file of this process. The server holds an exclusive lock (flock) on it for as long as it lives, however it
// ends: a state file that is not locked belongs to no process. The content is empty until the server is ready.
type File struct{ f *os.File }

// Create opens or creates a state file, takes its lock and empties it. The error wraps [ErrInUse] when
// another process holds the lock, and errors.ErrUnsupported where there are no such locks.
func Create(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	if err := filelock.Try(f, true); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock state file %s: %w", path, err)
	}
	s := &File{f: f}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("empty state file %s: %w", path, err)
	}
	return s, nil
}

// Write replaces the content. It writes in place: the lock is on this file, and not on one renamed over it.
func (s *File) Write(state State) error {
	raw, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	raw = append(raw, '\n')
	if _, err := s.f.WriteAt(raw, 0); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := s.f.Truncate(int64(len(raw))); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	return nil
}

// Close empties the file and gives up the lock.
func (s *File) Close() error {
	err := s.f.Truncate(0)
	if cerr := s.f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("empty state file: %w", err)
	}
	return nil
}

// Read reads a state file. It returns nil when no server holds it: there is no such file, or its server has ended,
// cleanly or not. The PID of a server that is not ready yet is 0.
func Read(path string) (*State, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // No server is an answer and no error.
	}
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	defer func() { _ = f.Close() }()
	switch err := filelock.Try(f, false); {
	case err == nil:
		return nil, nil //nolint:nilnil // As above: the lock was free.
	case !errors.Is(err, ErrInUse):
		return nil, fmt.Errorf("lock state file %s: %w", path, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read state file %s: %w", path, err)
	}
	var state State
	if len(raw) == 0 {
		return &state, nil
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return nil, fmt.Errorf("read state file %s: %w", path, err)
	}
	return &state, nil
}
