package resources

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// dockerImport starts the import id of a container on this machine.
const dockerImport = "docker:"

const keyServerImportHelp = "The import id of a cc_key_server is the directory of a process on this machine, docker:NAME for a container on it, or " +
	"ssh://USER@HOST:PORT/NAME for a container on another one, with the parameters known_hosts, host_key, private_key_file and sudo, such as " +
	"ssh://root@192.0.2.7/cc-key-server?known_hosts=known_hosts."

// ImportState adopts a server that runs: one in a directory of this machine, or
// one in a container of any.
func (r *keyServerResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	var err error
	if name, ok := strings.CutPrefix(req.ID, dockerImport); ok {
		err = importContainer(ctx, hostModel{Local: &struct{}{}}, name, resp)
	} else if strings.Contains(req.ID, "://") {
		var h hostModel
		var name string
		if h, name, err = parseHostImport(req.ID); err == nil {
			err = importContainer(ctx, h, strings.TrimPrefix(name, "/"), resp)
		}
	} else {
		err = importProcess(ctx, req.ID, resp)
	}
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "", &deploy.Error{Summary: "Key server not imported", Err: err, Remedy: keyServerImportHelp})
	}
}

// importProcess adopts the server that runs in a directory of this machine, with
// the configuration it was given.
func importProcess(ctx context.Context, directory string, resp *resource.ImportStateResponse) error {
	config, err := deploy.ReadKeyServerConfig(directory)
	if err != nil {
		return err
	}
	run, err := deploy.FindKeyServer(directory)
	if err != nil {
		return err
	}
	setImported(ctx, resp, hostModel{Local: &struct{}{}}, config, func(m *keyServerModel) {
		m.Directory, m.Runtime = types.StringValue(directory), types.StringValue(keyServerRuntimes.byDefault())
		m.setRun(run)
	})
	return nil
}

// importContainer adopts the server that runs in a container. What it was made
// of is written down beside it; how the machine is reached is in the import id.
func importContainer(ctx context.Context, h hostModel, name string, resp *resource.ImportStateResponse) error {
	if name == "" || strings.ContainsAny(name, "/ ") {
		return fmt.Errorf("read import id: %q is not the name of a container", name)
	}
	if err := h.check(); err != nil {
		return err
	}
	x, err := h.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }()
	k, run, err := deploy.ImportKeyServerContainer(ctx, x, name)
	if err != nil {
		return err
	}
	if probe := h.probeAddress(k.Config.Listen); probe != "" {
		run.Address = probe
	}
	setImported(ctx, resp, h, k.Config, func(m *keyServerModel) {
		m.Directory, m.Runtime = types.StringValue(k.Directory), types.StringValue(runtimeDocker)
		m.CcctlPath, m.CcctlURL, m.CcctlSHA256 = optionalString(k.Program), optionalString(k.Image.URL), optionalString(k.Image.SHA256)
		m.Image, m.RestartPolicy = optionalString(k.Image.Reference), optionalString(k.Restart)
		if name != defaultContainerName {
			m.ContainerName = types.StringValue(name)
		}
		if k.InMemory {
			m.SecretsOnDisk = types.BoolValue(false)
		}
		m.setRun(run)
	})
	return nil
}

// setImported makes a state of a configuration, and of what set adds.
func setImported(ctx context.Context, resp *resource.ImportStateResponse, h hostModel, config deploy.KeyServerConfig, set func(m *keyServerModel)) {
	resp.Diagnostics.Append(setKeyServerState(ctx, &resp.State, config)...)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("host"), h)...)
	var m keyServerModel
	resp.Diagnostics.Append(resp.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	set(&m)
	m.locate(ctx, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}
