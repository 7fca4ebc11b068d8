package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/custody"
)

// KeyServerConfig is what a key server is configured with. It and its parts are
// the types of package keyserver, under names for callers that know only this
// package.
type KeyServerConfig = keyserver.Config

type (
	// KeyServerTLS is its own certificate.
	KeyServerTLS = keyserver.TLSConfig
	// KeyServerCollateral is where collateral comes from.
	KeyServerCollateral = keyserver.CollateralConfig
	// KeyServerSecret is what it may release.
	KeyServerSecret = keyserver.SecretConfig
	// KeyServerVault is the Vault that keeps secrets.
	KeyServerVault = custody.Vault
	// KeyServerAlibabaCloud is the account whose KMS decrypts some.
	KeyServerAlibabaCloud = custody.AlibabaCloud
	// KeyServerVaultKV is a secret in Vault's KV engine.
	KeyServerVaultKV = custody.VaultKV
	// KeyServerVaultTransit is one that Vault's Transit engine unwraps.
	KeyServerVaultTransit = custody.VaultTransit
	// KeyServerAlibabaKMS is one that KMS decrypts.
	KeyServerAlibabaKMS = custody.AlibabaKMS
	// KeyServerRule is to whom.
	KeyServerRule = keyserver.RuleConfig
	// KeyServerTCB is on which platforms.
	KeyServerTCB = keyserver.TCBConfig
	// KeyServerAttributes are bits that an enclave has in ATTRIBUTES.
	KeyServerAttributes = keyserver.AttributesConfig
	// KeyServerMiscSelect are bits that it has in MISCSELECT.
	KeyServerMiscSelect = keyserver.MiscSelectConfig
	// KeyServerAdmin is its listener for health checks.
	KeyServerAdmin = keyserver.AdminConfig
	// KeyServerAdminTLS lets clients with a certificate ask it.
	KeyServerAdminTLS = keyserver.AdminTLSConfig
	// KeyServerLimits is what clients can take of it.
	KeyServerLimits = keyserver.LimitsConfig
	// KeyServerDuration is a duration in any of them.
	KeyServerDuration = keyserver.Duration
)

// KeyServerConfigError holds every problem of a configuration.
type KeyServerConfigError = keyserver.ConfigError

// KeyServerProblem is one of them.
type KeyServerProblem = keyserver.Problem

// KeyServer is a key server of this machine as it is wished to be: a process
// of its own, `ccctl keyserver serve`, that outlives the one that started it.
//
// The process holds an exclusive flock on its state file as long as it lives,
// and once it listens it writes there who and where it is. So whether it lives
// is never a guess from a process id, which may have gone to another program.
type KeyServer struct {
	// Directory holds the configuration, the state file and the log. It is
	// made if it is missing. Nobody but the owner may write to it: whoever can
	// write the configuration can release keys.
	Directory string
	// Program is the path of ccctl. Empty: the one beside this program, or
	// else on PATH.
	Program string
	// Config is what the server does. Relative paths in it are relative to the
	// working directory of this program.
	Config KeyServerConfig
}

// KeyServerRun is a running key server.
type KeyServerRun struct {
	Address      string // host:port to reach it at from this machine
	AdminAddress string // the same for its administrative listener; empty without one
	Version      string // of its program
	// ConfigSHA256 is the digest of the configuration file in lower-case hex.
	// The file lists the digests of the files it refers to, so this one
	// changes with any of them.
	ConfigSHA256 string
}

// KeyServerFiles are the files in a key server's directory.
type KeyServerFiles struct{ Config, State, Log string }

// KeyServerFilesIn names the files in a key server's directory.
func KeyServerFilesIn(directory string) KeyServerFiles {
	return KeyServerFiles{
		Config: filepath.Join(directory, "config.yaml"),
		State:  filepath.Join(directory, "state.json"),
		Log:    filepath.Join(directory, "server.log"),
	}
}

const (
	pollInterval = 50 * time.Millisecond
	// reloadPatience is how long a running server may take to put a new
	// configuration in force. It opens a handful of files for that.
	reloadPatience = 15 * time.Second
	// killPatience is added to the server's own drain time before it is killed.
	killPatience = 5 * time.Second
	// exitPatience is for a process that has nothing left to do but to exit.
	exitPatience = 2 * time.Second
)

// Start starts the server and waits until it accepts enclaves. It fails if one
// runs in the directory already. When it fails or ctx ends no process is left.
func (k KeyServer) Start(ctx context.Context) (KeyServerRun, error) {
	prepared, err := k.prepare()
	if err != nil {
		return KeyServerRun{}, err
	}
	state, err := serverState(prepared.files.State)
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("start key server: %w", err)
	}
	if state != nil {
		return KeyServerRun{}, &Error{
			Summary: "Key server runs already",
			Err:     fmt.Errorf("start key server in %s: one runs there", k.Directory),
			Remedy:  "Import it (terraform import cc_key_server.NAME DIRECTORY), stop it, or choose another directory.",
		}
	}
	return prepared.start(ctx)
}

// Apply makes the server run as wished, whatever it does now: it starts a
// stopped one, lets a running one reload its configuration, and restarts it
// where that is not enough, which is when an address changes or the caller
// asks for it. If the server cannot be brought to it, the old configuration
// stays on disk and, as far as possible, in force.
func (k KeyServer) Apply(ctx context.Context, restart bool) (KeyServerRun, error) {
	prepared, err := k.prepare()
	if err != nil {
		return KeyServerRun{}, err
	}
	state, err := serverState(prepared.files.State)
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("update key server: %w", err)
	}
	if state == nil {
		return prepared.start(ctx)
	}
	old, oldErr := os.ReadFile(prepared.files.Config)
	if oldErr != nil || restart || prepared.needsRestart(old) {
		return prepared.restart(ctx, old)
	}
	return prepared.reload(ctx, old)
}

// StopKeyServer stops the server of a directory: it asks it to finish and, if
// it has not done so when its own drain time is over or the deadline of ctx
// has come, kills it. It is no error if none runs. A process is signalled only
// after it has been proved to be the server of this directory.
func StopKeyServer(ctx context.Context, directory string) error {
	if err := stopKeyServer(ctx, KeyServerFilesIn(directory)); err != nil {
		return fmt.Errorf("stop key server in %s: %w", directory, err)
	}
	return nil
}

func stopKeyServer(ctx context.Context, files KeyServerFiles) error {
	if state, err := serverState(files.State); err != nil || state == nil {
		return err
	}
	process, _, err := findKeyServer(files.State)
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", process.Pid, err)
	}
	drain, cancel := context.WithTimeout(ctx, drainTime(files.Config)+killPatience)
	defer cancel()
	if err = waitGone(drain, files.State); err == nil {
		waitExit(ctx, process)
	}
	if err == nil || drain.Err() == nil {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return err // the user changed their mind; the server ends on its own
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", process.Pid, err)
	}
	killed, cancel := context.WithTimeout(context.WithoutCancel(ctx), killPatience)
	defer cancel()
	return waitGone(killed, files.State)
}

// waitExit gives a server that has given up its lock, and with it all it had
// to do, a moment to be gone altogether. What is left after that is at most
// the entry of a process that nobody collects, as in some containers.
func waitExit(ctx context.Context, process *os.Process) {
	ctx, cancel := context.WithTimeout(ctx, exitPatience)
	defer cancel()
	for ctx.Err() == nil && process.Signal(syscall.Signal(0)) == nil {
		time.Sleep(pollInterval / 5)
	}
}

// drainTime is how long the server itself gives its connections.
func drainTime(configFile string) time.Duration {
	config, err := keyserver.LoadConfig(configFile)
	if err != nil {
		return time.Duration(keyserver.DefaultLimits().DrainTimeout)
	}
	return time.Duration(config.Limits.DrainTimeout)
}

// RemoveKeyServer stops the server and removes what was made in its directory,
// and the directory if nothing else is in it.
func RemoveKeyServer(ctx context.Context, directory string) error {
	if err := StopKeyServer(ctx, directory); err != nil {
		return err
	}
	files := KeyServerFilesIn(directory)
	for _, name := range []string{files.Config, files.State, files.Log} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove key server: %w", err)
		}
	}
	// Anything else in there, such as cached collateral, is not ours to remove.
	_ = os.Remove(directory)
	return nil
}

// start writes the configuration and starts a process.
func (p *preparedKeyServer) start(ctx context.Context) (KeyServerRun, error) {
	if err := p.write(p.text); err != nil {
		return KeyServerRun{}, err
	}
	logStart := logSize(p.files.Log)
	process, err := startDetached(p.program, p.directory, p.files)
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("start key server %s: %w", p.program, err)
	}
	state, err := process.waitReady(ctx, p.files.State)
	if err == nil {
		return p.run(state), nil
	}
	// Nobody would ever find a process that did not come up.
	process.kill()
	return KeyServerRun{}, &Error{
		Summary:  "Key server not started",
		Err:      fmt.Errorf("start key server in %s: %w", p.directory, err),
		Remedy:   "The end of its log says why. Its configuration is kept beside the log; `ccctl keyserver check-config` checks it.",
		Evidence: logTail(p.files.Log, logStart),
	}
}

// restart stops the running server and starts it with the new configuration;
// if that does not work out it starts it with the old one again.
func (p *preparedKeyServer) restart(ctx context.Context, old []byte) (KeyServerRun, error) {
	if err := stopKeyServer(ctx, p.files); err != nil {
		return KeyServerRun{}, fmt.Errorf("restart key server in %s: %w", p.directory, err)
	}
	run, err := p.start(ctx)
	if err == nil || len(old) == 0 {
		return run, err
	}
	// The wish could not be fulfilled, but enclaves may still be waiting for
	// what the old configuration gave them. ctx may be what ended the attempt.
	back := *p
	back.text = old
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadPatience)
	defer cancel()
	if _, backErr := back.start(again); backErr != nil {
		return run, withEvidence(err, "Nor did it start with its former configuration again: "+backErr.Error())
	}
	return run, withEvidence(err, "It has been started with its former configuration again.")
}

// reload lets the running server take over the new configuration.
func (p *preparedKeyServer) reload(ctx context.Context, old []byte) (KeyServerRun, error) {
	process, state, err := findKeyServer(p.files.State)
	if err != nil {
		return KeyServerRun{}, fmt.Errorf("update key server in %s: %w", p.directory, err)
	}
	if err := p.write(p.text); err != nil {
		return KeyServerRun{}, err
	}
	if state.ConfigSHA256 == p.digest {
		return p.run(state), nil
	}
	logStart := logSize(p.files.Log)
	limited, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	if err = process.Signal(syscall.SIGHUP); err == nil {
		state, err = waitState(limited, p.files.State, func(s *keyserver.State) bool { return s.ConfigSHA256 == p.digest })
	}
	if err == nil {
		return p.run(state), nil
	}
	// What is on disk should be what is in force.
	if backErr := p.write(old); backErr != nil {
		err = errors.Join(err, backErr)
	}
	return KeyServerRun{}, &Error{
		Summary:  "Key server kept its former configuration",
		Err:      fmt.Errorf("reload key server in %s: %w", p.directory, err),
		Remedy:   "The end of its log says why it did not take over the new configuration. The old one is in force and on disk.",
		Evidence: logTail(p.files.Log, logStart),
	}
}

func (p *preparedKeyServer) write(text []byte) error {
	if err := atomicfile.WriteFile(p.files.Config, text, 0o600); err != nil {
		return fmt.Errorf("configure key server: %w", err)
	}
	return nil
}

func (p *preparedKeyServer) run(state *keyserver.State) KeyServerRun {
	return KeyServerRun{
		Address:      reachable(state.Listen),
		AdminAddress: reachable(state.Admin),
		Version:      state.Version,
		ConfigSHA256: p.digest,
	}
}

// reachable turns the address of a listener into one to connect to: one that
// listens on every address of the machine is reached at the loopback.
func reachable(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		return listener
	}
	if addr, err := netip.ParseAddr(host); host == "" || (err == nil && addr.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listener
}

// withEvidence adds a sentence to what an error has to say.
func withEvidence(err error, sentence string) error {
	var known *Error
	if !errors.As(err, &known) {
		return fmt.Errorf("%w; %s", err, sentence)
	}
	added := *known
	if added.Evidence != "" {
		sentence = added.Evidence + "\n" + sentence
	}
	added.Evidence = sentence
	return &added
}
