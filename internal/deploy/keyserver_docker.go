package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// KeyServerContainer is a key server as a Docker container of a machine, as it
// is wished to be.
//
// On the machine its directory holds config/, which is mounted into the
// container and can be entered by root and the server alone, and cache/ for
// collateral. In config/ are config.yaml and a folder with the certificate and
// the keys that this configuration goes with. The folder is named after them,
// so that a configuration and its files change in one step, by the rename of
// config.yaml, and going back is writing the former config.yaml again.
type KeyServerContainer struct {
	// KeyServer has paths of this machine in its configuration, and the
	// absolute path of a directory on the other one. Listen is the address
	// that the machine publishes. Program is ccctl for linux/amd64.
	KeyServer
	// Name is the container's.
	Name string
	// Image is where its image comes from, if not from Program.
	Image ContainerImage
	// Restart is one of [RestartPolicies]; empty: "unless-stopped".
	Restart string
	// InMemory keeps the certificate and the keys off the machine's disk: they
	// are handed over when the container starts, and are lost with it.
	InMemory bool
	// Host is the machine. Docker and the directory need root there.
	Host remote.Executor
	// Probe is the address, host:port, at which the server must answer from
	// here; empty: it need not.
	Probe string
}

// What is in the container.
const (
	containerListen = ":4433"
	containerAdmin  = "127.0.0.1:9433"
	containerPort   = "4433"
)

// Labels of a container.
const (
	labelDirectory = "io.github.ccctl.directory" // where its files are
	labelProgram   = "io.github.ccctl.program"   // SHA-256 of ccctl
	labelSpec      = "io.github.ccctl.spec"      // SHA-256 of how it is run
	labelFiles     = "io.github.ccctl.files"     // which files it was handed over
)

// preparedContainer is a container whose configuration has been found good.
type preparedContainer struct {
	KeyServerContainer
	publish string // host:port
	release string // name of the folder with its files
	text    []byte // of config.yaml
	digest  string
	sum     string       // what is in its image: see [KeyServerContainer.sum]
	image   *image.Image // nil: it is in a registry
}

// Check finds what is wrong with the wish without opening files.
func (k KeyServerContainer) Check() error {
	if err := k.check(true); err != nil {
		return err
	}
	var problems []keyserver.Problem
	add := func(field, message, remedy string) {
		problems = append(problems, keyserver.Problem{Field: field, Message: message, Remedy: remedy})
	}
	if _, port, err := net.SplitHostPort(k.Config.Listen); err == nil && port == "0" {
		add("listen", "has port 0", "a container publishes a port that is known beforehand; enclaves are told of it")
	}
	if k.Config.Admin != nil {
		add("admin", "does not go with a container", "leave it out; health is checked inside of the container")
	}
	if k.Config.Collateral.CacheDir != "" {
		add("collateral.cache_dir", "does not go with a container", "leave it out; collateral is kept in the directory of the server")
	}
	if !path.IsAbs(k.Directory) || path.Clean(k.Directory) != k.Directory || path.Dir(k.Directory) == "/" {
		add("directory", fmt.Sprintf("%q is not the absolute path of a directory below another one", k.Directory), "write it as /var/lib/cc-key-server")
	}
	if strings.ContainsAny(k.Directory, ",:\n") {
		add("directory", fmt.Sprintf("%q holds a comma, colon or newline, which Docker cannot mount", k.Directory), "choose another one")
	}
	if !slices.Contains(RestartPolicies(), k.restart()) {
		add("restart_policy", fmt.Sprintf("is %q, not one of %s", k.Restart, strings.Join(RestartPolicies(), ", ")), "")
	}
	k.Image.check(k.Program, add)
	k.checkMemory(add)
	if len(problems) > 0 {
		return &keyserver.ConfigError{Problems: problems}
	}
	return nil
}

// prepare does what can fail without touching the machine.
func (k KeyServerContainer) prepare(ctx context.Context) (*preparedContainer, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	local := k.absolute()
	inputs, err := keyServerInputs(local)
	if err != nil {
		return nil, fmt.Errorf("configure key server: %w", err)
	}
	_, config, err := k.render(inputs)
	if err != nil {
		return nil, err
	}
	// The server would say the same when it starts.
	if err := keyserver.CheckFiles(config); err != nil {
		return nil, fmt.Errorf("configure key server: %w", err)
	}
	p := &preparedContainer{KeyServerContainer: k, publish: k.publishAddress(), release: releaseName(inputs)}
	if k.InMemory { // never the folder in which secrets may have been
		p.release = "public-" + strings.TrimPrefix(p.release, "files-")
	}
	text, _, err := renderKeyServer(p.inside(local), image.ConfigDir, inputs)
	if err == nil {
		p.text, err = k.withOrigin(text)
	}
	if err != nil {
		return nil, err
	}
	p.digest = hexDigest(p.text)
	if err := p.buildImage(ctx); err != nil {
		return nil, err
	}
	if p.sum, err = k.sum(); err != nil {
		return nil, fmt.Errorf("read ccctl: %w", err)
	}
	return p, nil
}

// publishAddress is Listen as Docker has it. Listen has been checked.
func (k KeyServerContainer) publishAddress() string {
	host, port, _ := net.SplitHostPort(k.Config.Listen)
	if host == "" {
		host = "0.0.0.0"
	}
	return net.JoinHostPort(host, port)
}

// releaseName names the folder of the files that a configuration goes with.
// It follows from what identifies them, which is in the configuration too.
func releaseName(inputs map[string]string) string {
	return "files-" + hexDigest([]byte(fmt.Sprint(inputs)))[:16] // maps are printed in order of their keys
}

func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// containerFile is a file that the configuration names.
type containerFile struct {
	path *string // in a configuration
	name string  // in the folder on the machine
}

// containerFiles lists the files of a configuration, which may be changed
// through the pointers.
func containerFiles(c *keyserver.Config) []containerFile {
	files := []containerFile{
		{&c.TLS.Certificate, "server.pem"}, {&c.TLS.PrivateKey, "server-key.pem"}, {&c.Collateral.CA, "collateral-ca.pem"},
		{&c.Collateral.Bundle, "collateral.json"}, {&c.AllowTrustedRoot, "trusted-root.pem"},
	}
	for i := range c.Secrets {
		files = append(files, containerFile{&c.Secrets[i].File, "secret-" + strconv.Itoa(i)})
		if kms := c.Secrets[i].AlibabaKMS; kms != nil {
			files = append(files, containerFile{&kms.CiphertextFile, "sealed-" + strconv.Itoa(i)})
		}
	}
	given := files[:0]
	for _, f := range files {
		if *f.path != "" {
			given = append(given, f)
		}
	}
	return given
}

// inside is the configuration as it is in the container.
func (p *preparedContainer) inside(c keyserver.Config) keyserver.Config {
	ownSecrets(&c)
	for _, f := range containerFiles(&c) {
		*f.path = path.Join(image.ConfigDir, p.release, f.name)
		if p.InMemory && isSecret(&c, f) {
			*f.path = path.Join(handedOver, f.name)
		}
	}
	c.Listen, c.Admin = containerListen, &keyserver.AdminConfig{Listen: containerAdmin}
	if c.Collateral.Bundle == "" {
		c.Collateral.CacheDir = path.Join(image.CacheDir, "collateral")
	}
	return c
}

// Limits of the container.
const (
	containerMemory = 256 << 20 // bytes; no swap, where keys would get onto a disk
	containerPIDs   = 256
	containerLogs   = 3 // files of 10 MB each
)

// options are the arguments of `docker create` but for the name, the address
// and the image: what keeps the server in.
func (p *preparedContainer) options() []string {
	owner := fmt.Sprintf("%d:%d", image.UID, image.UID)
	memory := strconv.Itoa(containerMemory)
	options := []string{
		"--user", owner, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--memory", memory, "--memory-swap", memory, "--pids-limit", strconv.Itoa(containerPIDs),
		"--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=" + strconv.Itoa(containerLogs),
		"--stop-timeout", strconv.Itoa(int((p.drain() + killPatience) / time.Second)),
		"--tmpfs", fmt.Sprintf("%s:rw,noexec,nosuid,nodev,size=1m,mode=0700,uid=%d,gid=%d", image.StateDir, image.UID, image.UID),
		"--mount", "type=bind,readonly,source=" + p.configDir() + ",target=" + image.ConfigDir,
	}
	if p.Config.Collateral.Bundle == "" {
		options = append(options, "--mount", "type=bind,source="+p.cacheDir()+",target="+image.CacheDir)
	}
	if p.InMemory {
		options = append(options, "--label", labelFiles+"="+p.release)
	}
	return append(options, "--label", labelDirectory+"="+p.Directory, "--label", labelProgram+"="+p.sum)
}

func (p *preparedContainer) drain() time.Duration {
	if d := p.Config.Limits.DrainTimeout; d > 0 {
		return time.Duration(d)
	}
	return time.Duration(keyserver.DefaultLimits().DrainTimeout)
}

// spec identifies how the container is run. A running one of the same spec
// needs no more than a reload.
func (p *preparedContainer) spec() string {
	return hexDigest([]byte(strings.Join(append(p.options(), p.publish, p.imageID(), p.restart()), "\n")))
}

func (k KeyServerContainer) configDir() string  { return path.Join(k.Directory, "config") }
func (k KeyServerContainer) configFile() string { return path.Join(k.configDir(), "config.yaml") }
func (k KeyServerContainer) cacheDir() string   { return path.Join(k.Directory, "cache") }

// docker runs a command of Docker on the machine.
func (k KeyServerContainer) docker(ctx context.Context, args ...string) (string, error) {
	out, err := remote.Output(ctx, k.Host, append([]string{"docker"}, args...)...)
	return strings.TrimSpace(string(out)), err
}

// checkDocker says what is the matter with Docker before anything else fails for it.
func (k KeyServerContainer) checkDocker(ctx context.Context) error {
	_, err := k.docker(ctx, "version", "--format", "{{.Server.Version}}")
	if err == nil || ctx.Err() != nil || errors.Is(err, remote.ErrConnectionLost) {
		return err
	}
	remedy := "Is the daemon running (systemctl status docker), and may the user talk to it? Give a user that is root, or set sudo."
	if code, known := remote.ExitCode(err); known && code == 127 {
		remedy = "Install Docker on the machine; podman's imitation of it does not do."
	}
	return &Error{Summary: "Docker not usable", Err: fmt.Errorf("ask Docker on %s: %w", k.Host, err), Remedy: remedy}
}

// place puts everything but config.yaml on the machine.
func (p *preparedContainer) place(ctx context.Context) error {
	owner := strconv.Itoa(image.UID)
	release := path.Join(p.configDir(), p.release)
	const script = `mkdir -p -- "$1"; install -d -m 0700 -- "$2"; o=$3; shift 3; install -d -m 0700 -o "$o" -g "$o" -- "$@"`
	args := []string{"sh", "-ec", script, "sh", path.Dir(p.Directory), p.Directory, owner, p.configDir(), p.cacheDir(), release}
	if err := p.Host.Run(ctx, remote.Command{Args: args}); err != nil {
		return fmt.Errorf("make directory of key server: %w", err)
	}
	local := p.absolute()
	for _, f := range containerFiles(&local) {
		if p.InMemory && isSecret(&local, f) {
			continue
		}
		if err := p.send(ctx, *f.path, path.Join(release, f.name)); err != nil {
			return err
		}
	}
	return nil
}

// send puts a file of this machine on the other one. Each is treated as a
// secret, because a file of certificates may hold a private key too.
func (p *preparedContainer) send(ctx context.Context, from, to string) error {
	data, err := readSmallFile(from)
	if err != nil {
		return err
	}
	defer clear(data)
	return p.put(ctx, to, data)
}

func (k KeyServerContainer) put(ctx context.Context, to string, data []byte) error {
	f := remote.BytesFile(to, data, 0o400)
	f.Secret, f.Owner = true, &remote.Owner{UID: image.UID, GID: image.UID}
	return k.Host.Put(ctx, f)
}
