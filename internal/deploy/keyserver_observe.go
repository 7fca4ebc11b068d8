package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// Statuses of a key server; what is not one of these begins with
// [KeyServerChanged] and goes on to say what.
const (
	KeyServerRunning = "running"
	KeyServerStopped = "stopped"
	KeyServerChanged = "changed: "
)

// KeyServerObservation is what was found of a key server.
type KeyServerObservation struct {
	// Status is [KeyServerRunning] only if the server runs with exactly what
	// it was given.
	Status string
	// Log is the end of the log of a server that has stopped.
	Log string
}

// ObserveKeyServer compares the server of a directory with how it was left: it
// runs, with the configuration of the given digest, and the files it loads are
// those that the configuration was written for. It changes nothing.
func ObserveKeyServer(directory, digest string) (KeyServerObservation, error) {
	files := KeyServerFilesIn(directory)
	state, err := serverState(files.State)
	if err != nil {
		return KeyServerObservation{}, fmt.Errorf("look for key server in %s: %w", directory, err)
	}
	if state == nil {
		return KeyServerObservation{Status: KeyServerStopped, Log: logTail(files.Log, 0)}, nil
	}
	if what := keyServerChange(directory, state, digest); what != "" {
		return KeyServerObservation{Status: KeyServerChanged + what}, nil
	}
	return KeyServerObservation{Status: KeyServerRunning}, nil
}

// keyServerChange says what of a living server is not as it was left.
func keyServerChange(directory string, state *keyserver.State, digest string) string {
	text, err := os.ReadFile(KeyServerFilesIn(directory).Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the configuration file is missing"
	case err != nil:
		return "the configuration file cannot be read: " + pathCause(err).Error()
	case hexDigest(text) != digest:
		return "the configuration file was edited"
	case state.PID == 0:
		return "it does not listen yet"
	case state.ConfigSHA256 != digest:
		return "another configuration than the file's is in force"
	}
	config, err := keyserver.ParseConfig(text, directory)
	if err != nil {
		return oneLine(err)
	}
	now, err := keyServerInputs(*config)
	if err != nil {
		return oneLine(err)
	}
	loaded := listedInputs(text)
	for _, field := range slices.Sorted(maps.Keys(now)) {
		if loaded[field] != now[field] {
			return field + " has changed since the last apply"
		}
	}
	return ""
}

// FindKeyServer describes the server that runs in a directory, for an import.
// If none runs the error says so.
func FindKeyServer(directory string) (KeyServerRun, error) {
	files := KeyServerFilesIn(directory)
	text, err := readSmallFile(files.Config)
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("find key server in %s: %w", directory, err)
	}
	state, err := serverState(files.State)
	if err == nil && (state == nil || state.PID == 0) {
		err = errors.New("none runs there")
	}
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("find key server in %s: %w", directory, err)
	}
	return KeyServerRun{
		Address: reachable(state.Listen), AdminAddress: reachable(state.Admin), Version: state.Version, ConfigSHA256: hexDigest(text),
	}, nil
}

// serverState reads the state file of a server that lives; it is nil when none
// does.
func serverState(path string) (*keyserver.State, error) {
	for attempt := 0; ; attempt++ {
		state, err := keyserver.ReadState(path)
		// It is written in place, because the lock is on this very file: a
		// reader may catch it half.
		if err == nil || attempt == 3 || errors.Is(err, errors.ErrUnsupported) {
			return state, err
		}
		time.Sleep(pollInterval / 2)
	}
}

// waitState waits until the state file says what it should. It does not ask
// for the lock, which a starting server might then not get.
func waitState(ctx context.Context, path string, want func(*keyserver.State) bool) (*keyserver.State, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		var state keyserver.State
		if data, err := os.ReadFile(path); err == nil && json.Unmarshal(data, &state) == nil && want(&state) {
			return &state, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for key server: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// waitGone waits until no server holds the state file.
func waitGone(ctx context.Context, path string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if state, err := serverState(path); err != nil || state == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for key server to end: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func logSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// The end of a log that is worth showing.
const (
	tailBytes = 4096
	tailLines = 12
)

// logTail returns the last lines of a log after offset from, made fit to print.
func logTail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	size := logSize(path)
	start := max(from, size-tailBytes)
	data, err := io.ReadAll(io.NewSectionReader(f, start, size-start))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if start > from && len(lines) > 1 { // the first line is cut
		lines = lines[1:]
	}
	lines = lines[max(0, len(lines)-tailLines):]
	return printable(strings.Join(lines, "\n"))
}

// printable makes a log fit to print: a client chooses part of what is logged,
// and a terminal must not obey it.
func printable(log string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, log)
}
