package resources

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// ImportState adopts what an upload has put into a directory of a machine. The
// import id says how to reach the machine; see [parseHostImport].
func (r *artifactUploadResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	fail := func(err error) {
		addError(&resp.Diagnostics, path.Empty(), "", &deploy.Error{Summary: "Upload not imported", Err: err,
			Remedy: "The import id of a cc_artifact_upload is the directory, for this machine, or ssh://USER@HOST:PORT/DIRECTORY with the parameters " +
				"known_hosts, host_key, private_key_file and sudo, such as ssh://root@192.0.2.7/srv/models?known_hosts=known_hosts."})
	}
	h, directory, err := parseHostImport(req.ID)
	if err != nil {
		fail(err)
		return
	}
	x, err := h.open(ctx)
	if err != nil {
		fail(err)
		return
	}
	defer func() { _ = x.Close() }()
	u := deploy.ArtifactUpload{Directory: directory, Host: x}
	if err := u.Check(); err != nil {
		fail(err)
		return
	}
	record, settings, err := u.FindArtifacts(ctx)
	if err != nil {
		fail(err)
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("host"), h)...)
	var m artifactUploadModel
	resp.Diagnostics.Append(resp.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.Directory = types.StringValue(directory)
	m.setSettings(ctx, settings, &resp.Diagnostics)
	m.setRecord(ctx, record, &resp.Diagnostics)
	m.locate(ctx, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// setSettings restores the settings of an upload; the others have their defaults.
func (m *artifactUploadModel) setSettings(ctx context.Context, s deploy.ArtifactSettings, diags *diag.Diagnostics) {
	var d diag.Diagnostics
	m.Source = optionalString(s.Source)
	if len(s.Files) > 0 {
		m.Files, d = types.MapValueFrom(ctx, types.StringType, s.Files)
		diags.Append(d...)
	}
	if len(s.Plaintext) > 0 {
		m.Plaintext, d = types.SetValueFrom(ctx, types.StringType, s.Plaintext)
		diags.Append(d...)
	}
	m.FileMode, m.DirectoryMode = modeText(s.FileMode), modeText(s.DirectoryMode)
	m.DeleteStale, m.AllowOverwrite = types.BoolValue(false), types.BoolValue(false)
	m.OnDestroy, m.Status = types.StringValue(artifactOnDestroy.byDefault()), types.StringValue(deploy.ArtifactsInPlace)
}

// parseHostImport reads a machine and a directory of it from an import id: an
// absolute path is on this machine, and a URL names another one:
//
//	ssh://root@192.0.2.7:22/srv/models?known_hosts=PATH&private_key_file=PATH&sudo=true
//
// with any number of host_key=ssh-ed25519%20AAAA... instead of known_hosts,
// which is that of the user unless it is given.
func parseHostImport(id string) (hostModel, string, error) {
	if filepath.IsAbs(id) {
		return hostModel{Local: &struct{}{}}, id, nil
	}
	fail := func(err error) (hostModel, string, error) {
		return hostModel{}, "", fmt.Errorf("read import id %q: %w", id, err)
	}
	u, err := url.Parse(id)
	switch {
	case err != nil:
		return fail(errors.New("it is neither an absolute path nor a URL"))
	case u.Scheme != "ssh" || u.Host == "" || u.Path == "":
		return fail(errors.New("it is neither an absolute path nor ssh://HOST/DIRECTORY"))
	}
	if _, secret := u.User.Password(); secret {
		return hostModel{}, "", errors.New("read import id: it has a password in it, and there is no use for one")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail(errors.New("its parameters are malformed"))
	}
	for name, values := range query {
		if !slices.Contains([]string{"known_hosts", "host_key", "private_key_file", "sudo"}, name) {
			return fail(fmt.Errorf("the parameter %q is unknown", name))
		}
		if len(values) > 1 && name != "host_key" {
			return fail(fmt.Errorf("the parameter %q is there twice", name))
		}
	}
	s := &sshHostModel{sshAccessModel: sshAccessModel{
		Address: types.StringValue(u.Host), User: optionalString(u.User.Username()), HostKeys: query["host_key"],
		KnownHosts: optionalString(query.Get("known_hosts")), PrivateKeyFile: optionalString(query.Get("private_key_file")),
	}}
	switch query.Get("sudo") {
	case "":
	case "true":
		s.Sudo = types.BoolValue(true)
	default:
		return fail(errors.New("sudo is not \"true\""))
	}
	if len(s.HostKeys) == 0 && s.KnownHosts.IsNull() {
		home, err := os.UserHomeDir()
		if err != nil {
			return fail(fmt.Errorf("neither known_hosts nor host_key is given, and there is no home directory: %w", err))
		}
		s.KnownHosts = types.StringValue(filepath.Join(home, ".ssh", "known_hosts"))
	}
	h := hostModel{SSH: s}
	return h, u.Path, h.check()
}
