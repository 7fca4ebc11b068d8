package ecssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// state is everything the cloud knows.
type state struct {
	Sequence    int
	VPCs        map[string]*vpc
	VSwitches   map[string]*vswitch
	Groups      map[string]*group
	Instances   map[string]*instance
	Disks       map[string]*disk // that belong to no instance
	KeyPairs    map[string]*keyPair
	Invocations map[string]*invocation
	Tokens      map[string]*tokenUse
	Sessions    map[string]*tempKey // by access key id
	Keys        map[string]*kmsKey
}

func newState() *state {
	return &state{
		VPCs: map[string]*vpc{}, VSwitches: map[string]*vswitch{}, Groups: map[string]*group{}, Instances: map[string]*instance{},
		Disks: map[string]*disk{}, KeyPairs: map[string]*keyPair{}, Invocations: map[string]*invocation{}, Tokens: map[string]*tokenUse{}, Sessions: map[string]*tempKey{},
		Keys: map[string]*kmsKey{},
	}
}

// id makes an id as the cloud's: a prefix and 20 characters.
func (s *state) id(prefix string) string {
	s.Sequence++
	return fmt.Sprintf("%s-sim%017d", prefix, s.Sequence)
}

// tokenUse is the first call with a ClientToken.
type tokenUse struct {
	Arguments string
	Answer    map[string]any
}

// tempKey is a key that STS gave out.
type tempKey struct {
	Secret, Token, RoleARN, SessionName string
	Expires                             time.Time
}

// listed tells whether what was made and perhaps deleted is in the lists now.
type lifetime struct{ Visible, Gone time.Time }

func (l lifetime) listed(now time.Time) bool {
	return !now.Before(l.Visible) && (l.Gone.IsZero() || now.Before(l.Gone))
}

// alive tells whether it exists, in the lists or not.
func (l lifetime) alive(now time.Time) bool { return l.Gone.IsZero() || now.Before(l.Gone) }

// sorted returns the values of a map by their keys, which are in the order of
// their making.
func sorted[T any](m map[string]T) []T {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]T, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}

// A store keeps the state. There are two: memory and directory.
type store interface {
	load() (*state, error)
	save(*state) error
}

type memoryStore struct{}

func (memoryStore) load() (*state, error) { return newState(), nil }
func (memoryStore) save(*state) error     { return nil }

// directoryStore keeps the state in a file of a directory, written whole.
type directoryStore struct{ dir string }

const stateFile = "state.json"

func (d directoryStore) load() (*state, error) {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(d.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return newState(), nil
	}
	if err != nil {
		return nil, err
	}
	st := newState()
	if err := json.Unmarshal(data, st); err != nil {
		return nil, fmt.Errorf("%s is not a simulator's state: %w", filepath.Join(d.dir, stateFile), err)
	}
	// What ran when the last process ended runs no more.
	for _, i := range st.Invocations {
		if i.Status == "Running" || i.Status == "Pending" {
			i.Status, i.ErrorCode = "Failed", "ExecutionInterrupted"
		}
	}
	return st, nil
}

func (d directoryStore) save(st *state) error {
	data, err := json.MarshalIndent(st, "", " ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(d.dir, "."+stateFile+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(d.dir, stateFile))
}
