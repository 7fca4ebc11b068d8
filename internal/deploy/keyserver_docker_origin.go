package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// originMark starts each line of a container's origin in its configuration.
const originMark = "#| "

// origin is the wish that a container was made by: what the configuration on
// the machine does not say, above all where its files are on this side. It is
// kept in that configuration as comments, so that the two change in one step.
// There is no secret in it.
type origin struct {
	Config  keyserver.Config `yaml:"config"`
	Program string           `yaml:"ccctl_path,omitempty"`
	Image   string           `yaml:"image,omitempty"`
	URL     string           `yaml:"ccctl_url,omitempty"`
	SHA256  string           `yaml:"ccctl_sha256,omitempty"`
	Restart string           `yaml:"restart_policy,omitempty"`
	Memory  bool             `yaml:"secrets_in_memory,omitempty"`
}

// withOrigin adds the origin to a configuration.
func (k KeyServerContainer) withOrigin(text []byte) ([]byte, error) {
	o := origin{
		Config: k.Config, Program: k.Program, Image: k.Image.Reference, URL: k.Image.URL, SHA256: k.Image.SHA256,
		Restart: k.Restart, Memory: k.InMemory,
	}
	body, err := yaml.Dump(&o, yaml.WithV4Defaults())
	if err != nil {
		return nil, fmt.Errorf("write origin of key server: %w", err)
	}
	var b strings.Builder
	b.WriteString("# It was made of this, with paths of the machine that Terraform runs on (an import reads it):\n")
	for line := range strings.Lines(string(body)) {
		b.WriteString(originMark + strings.TrimRight(line, "\n") + "\n")
	}
	b.Write(text)
	return []byte(b.String()), nil
}

// readOrigin reads back what withOrigin has added.
func readOrigin(text []byte) (*origin, error) {
	var body strings.Builder
	for line := range strings.Lines(string(text)) {
		if entry, ok := strings.CutPrefix(line, originMark); ok {
			body.WriteString(entry)
		}
	}
	if body.Len() == 0 {
		return nil, errors.New("its configuration does not say what it was made of: an earlier version has written it")
	}
	var o origin
	if err := yaml.Load([]byte(body.String()), &o, yaml.WithV4Defaults()); err != nil {
		return nil, fmt.Errorf("read what it was made of: %w", err)
	}
	return &o, nil
}

// ImportKeyServerContainer finds the key server that runs in the container of a
// name on a machine, and what it was made of. The container's Probe is left to
// the caller.
func ImportKeyServerContainer(ctx context.Context, host remote.Executor, name string) (KeyServerContainer, KeyServerRun, error) {
	k := KeyServerContainer{Name: name, Host: host}
	fail := func(err error) (KeyServerContainer, KeyServerRun, error) {
		return k, KeyServerRun{}, fmt.Errorf("import container %s on %s: %w", name, host, err)
	}
	if err := k.checkDocker(ctx); err != nil {
		return fail(err)
	}
	directory, err := k.docker(ctx, "container", "inspect", "--format", `{{index .Config.Labels "`+labelDirectory+`"}}`, name)
	if err != nil {
		return fail(err)
	}
	if directory == "" {
		return fail(errors.New("it is not a key server's"))
	}
	k.Directory = directory
	text, err := k.currentConfig(ctx)
	if err == nil && len(text) == 0 {
		err = fmt.Errorf("its configuration %s is missing", k.configFile())
	}
	if err != nil {
		return fail(err)
	}
	o, err := readOrigin(text)
	if err != nil {
		return fail(err)
	}
	k.Config, k.Program, k.Restart, k.InMemory = o.Config, o.Program, o.Restart, o.Memory
	k.Image = ContainerImage{Reference: o.Image, URL: o.URL, SHA256: o.SHA256}
	if err := k.Check(); err != nil {
		return fail(err)
	}
	status, err := k.status(ctx, name)
	if err != nil {
		return fail(err)
	}
	return k, KeyServerRun{Address: reachable(k.publishAddress()), Version: status.Version, ConfigSHA256: hexDigest(text)}, nil
}
