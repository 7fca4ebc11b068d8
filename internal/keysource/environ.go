package keysource

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"sync"
	"unsafe"
)

// Environ takes keys out of this process's environment: the first Read of a variable removes it from the environment and
// overwrites its value, later ones answer from memory, until Close. Nothing outside can change the environment of a running
// process, so that a new key takes a new process.
//
// On Linux the value is overwritten also where the kernel put it when the process began, so that /proc/PID/environ does not
// show it any more, unless a seccomp filter forbids process_vm_writev; elsewhere that block stays. Whoever else in this
// process has asked for the variable before may find the text it holds overwritten.
type Environ struct {
	mu   sync.Mutex
	keys map[string]*[Size]byte
}

// NewEnviron returns an Environ that has taken nothing yet.
func NewEnviron() *Environ { return &Environ{keys: map[string]*[Size]byte{}} }

// Close wipes the keys.
func (e *Environ) Close() { e.Retain(func(string) bool { return false }) }

// Retain wipes the keys of variables that are not wanted any more. They cannot be read again.
func (e *Environ) Retain(wanted func(name string) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, key := range e.keys {
		if !wanted(name) {
			clear(key[:])
			delete(e.keys, name)
		}
	}
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

// CheckVariableName tells whether a name can be that of a variable.
func CheckVariableName(name string) error {
	if !variablePattern.MatchString(name) {
		return fmt.Errorf("%q is not a name of a variable", name)
	}
	return nil
}

// Variable is the source of a key in the variable of that name, as hex digits unless the form says otherwise.
func (e *Environ) Variable(name string, form Form) Source {
	if form == "" {
		form = Hex
	}
	return variable{e, name, form}
}

type variable struct {
	environ *Environ
	name    string
	form    Form
}

func (variable) Files() []string  { return nil }
func (v variable) String() string { return "environment variable " + v.name }

func (v variable) Read(_ context.Context, key *[Size]byte) error {
	e := v.environ
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(key[:])
	value, found := os.LookupEnv(v.name)
	if !found {
		if kept := e.keys[v.name]; kept != nil {
			*key = *kept
			return nil
		}
		return fmt.Errorf("read wrap key from the environment: the variable %s is not set", v.name)
	}
	text := []byte(value)
	defer clear(text)
	err := os.Unsetenv(v.name)
	overwrite(v.name, value)
	if err != nil {
		return fmt.Errorf("remove %s from the environment: %w", v.name, err)
	}
	if err := v.form.decode(text, key); err != nil {
		return fmt.Errorf("read wrap key from the environment variable %s: %w", v.name, err)
	}
	kept := *key
	e.keys[v.name] = &kept
	return nil
}

// overwrite wipes the memory of a variable's value: the string that package os has handed out, which lies in the heap and
// which nobody else compares, and the block that the kernel handed to the process.
func overwrite(name, value string) {
	if value == "" {
		return
	}
	overwriteBlock(name, value)
	clear(unsafe.Slice(unsafe.StringData(value), len(value))) //nolint:gosec // That is the purpose.
}
