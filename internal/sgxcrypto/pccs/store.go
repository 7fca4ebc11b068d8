package pccs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
)

// store is a cache's directory: one JSON file a document. What it holds is no more trusted than what a service says.
type store struct {
	dir string
	// levels keeps processes apart that share the directory and ask for different sets of TCB levels.
	levels levelSet
}

// stored is the content of a file. The dates are read from the body each time, so that a file cannot say otherwise.
type stored struct {
	Version int       `json:"version"`
	Fetched time.Time `json:"fetched"`
	Body    []byte    `json:"body"` // base64
	Chain   string    `json:"issuer_chain,omitempty"`
}

const (
	storedVersion = 1
	maxStored     = 2*maxCRL + maxHeader
)

func openStore(dir string, levels levelSet) (*store, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make collateral cache directory: %w", err)
	}
	return &store{dir: dir, levels: levels}, nil
}

func (s *store) path(id docID) string {
	name := string(id.kind)
	if id.key != "" {
		name += "-" + strings.ToLower(id.key)
	}
	if set := s.levels.String(); set != "" && id.hasLevels() {
		name += "-" + set
	}
	return filepath.Join(s.dir, name+".json")
}

// load returns nil for a document that is not there.
func (s *store) load(id docID) (*document, error) {
	f, err := os.Open(s.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // Absence is no error here and is asked for in one place.
	}
	if err != nil {
		return nil, fmt.Errorf("read cached collateral: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxStored+1))
	if err != nil {
		return nil, fmt.Errorf("read cached collateral: %w", err)
	}
	if len(raw) > maxStored {
		return nil, fmt.Errorf("read cached collateral %s: it is longer than %d bytes", s.path(id), maxStored)
	}
	var file stored
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read cached collateral %s: %w", s.path(id), err)
	}
	if file.Version != storedVersion {
		return nil, fmt.Errorf("read cached collateral %s: its version is %d, want %d", s.path(id), file.Version, storedVersion)
	}
	doc, err := newDocument(id, file.Body, []byte(file.Chain))
	if err != nil {
		return nil, fmt.Errorf("read cached collateral %s: %w", s.path(id), err)
	}
	doc.Fetched = file.Fetched
	return doc, nil
}

func (s *store) save(id docID, doc *document) error {
	raw, err := json.Marshal(stored{Version: storedVersion, Fetched: doc.Fetched.UTC(), Body: doc.Body, Chain: string(doc.Chain)})
	if err != nil {
		return fmt.Errorf("keep %s: %w", id, err)
	}
	if err := atomicfile.WriteFile(s.path(id), raw, 0o644); err != nil {
		return fmt.Errorf("keep %s: %w", id, err)
	}
	return nil
}
