package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// ContainerImage says where the image of a container comes from. The zero value
// is an image that is made of the ccctl that [FindCcctl] finds.
type ContainerImage struct {
	// Reference is an image in a registry, by its digest: "host/name@sha256:...".
	// The machine pulls it itself.
	Reference string
	// URL is where ccctl for linux/amd64 is fetched from, by https, and SHA256
	// its digest in lower-case hex.
	URL, SHA256 string
	// Cache is the directory in which a fetched ccctl is kept; empty: one of the
	// user's.
	Cache string
}

// maxCcctl bounds a ccctl that is fetched, in bytes.
const maxCcctl = 256 << 20

// check finds what is wrong with it. The fields are those of cc_key_server.
func (i ContainerImage) check(program string, add func(field, message, remedy string)) {
	if i.Reference != "" {
		if err := image.CheckReference(i.Reference); err != nil {
			add("image", err.Error(), "write it as registry/name@sha256:..., which names one image for ever; a tag may come to name another")
		}
		if program != "" || i.URL != "" {
			add("image", "does not go with ccctl_path and ccctl_url", "the program is in the image; leave them out")
		}
	}
	if i.URL != "" && program != "" {
		add("ccctl_url", "does not go with ccctl_path", "leave one of them out")
	}
	if (i.URL == "") != (i.SHA256 == "") {
		add("ccctl_sha256", "goes with ccctl_url, and that with it", "what is fetched is compared with it; it is among the release's checksums")
	}
	if i.URL != "" {
		if err := CheckFetchURL(i.URL); err != nil {
			add("ccctl_url", err.Error(), "")
		}
	}
	if i.SHA256 != "" && !isSHA256(i.SHA256) {
		add("ccctl_sha256", fmt.Sprintf("is %q, and no SHA-256 in 64 lower-case hex digits", i.SHA256), "")
	}
}

func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// sum identifies what is in the image before it is there: the digest of the
// program, or of an image of a registry. Empty: not known here.
func (k KeyServerContainer) sum() (string, error) {
	switch i := k.Image; {
	case i.Reference != "":
		_, digest, _ := strings.Cut(i.Reference, "@sha256:")
		return digest, nil
	case i.SHA256 != "":
		return i.SHA256, nil
	}
	program, err := FindCcctl(k.Program)
	if err != nil {
		return "", nil //nolint:nilerr // Not every machine that shares a state has the program.
	}
	return fileDigest(program)
}

// buildImage makes the image, unless it is in a registry.
func (p *preparedContainer) buildImage(ctx context.Context) error {
	if p.Image.Reference != "" {
		return nil
	}
	program, err := p.program(ctx)
	if err != nil {
		return err
	}
	p.image, err = image.Build(program)
	if err != nil {
		return &Error{Summary: "Container image not built", Err: err,
			Remedy: "Name a ccctl for linux/amd64 with ccctl_path or ccctl_url; the released one is such."}
	}
	return nil
}

// program is the path of ccctl, which is fetched if it is to be.
func (k KeyServerContainer) program(ctx context.Context) (string, error) {
	if k.Image.URL == "" {
		return FindCcctl(k.Program)
	}
	dir := k.Image.Cache
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("fetch ccctl: %w", err)
		}
		dir = filepath.Join(base, "cc")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("fetch ccctl: %w", err)
	}
	to := filepath.Join(dir, "ccctl-"+k.Image.SHA256)
	if _, err := Fetch(ctx, FetchSpec{URL: k.Image.URL, SHA256: k.Image.SHA256, Destination: to, MaxSize: maxCcctl}); err != nil {
		remedy := "Look at ccctl_url in a browser of this machine."
		if errors.Is(err, ErrSourceDigest) {
			remedy = "What is there is not what ccctl_sha256 says: compare it with the release's checksums."
		}
		return "", &Error{Summary: "Program ccctl not fetched", Err: err, Remedy: remedy}
	}
	return to, nil
}

// reference is what Docker knows the image by.
func (p *preparedContainer) reference() string {
	if p.image != nil {
		return p.image.Reference()
	}
	return p.Image.Reference
}

// imageID identifies the image for ever.
func (p *preparedContainer) imageID() string {
	if p.image != nil {
		return p.image.ID()
	}
	return p.Image.Reference
}

// load brings the image to the machine, unless it has it.
func (p *preparedContainer) load(ctx context.Context) error {
	if p.image == nil {
		return p.pull(ctx)
	}
	id, err := p.docker(ctx, "image", "inspect", "--format", "{{.Id}}", p.image.Reference())
	if _, known := remote.ExitCode(err); !known {
		return err
	}
	if err == nil && id == p.image.ID() {
		return nil
	}
	if err == nil { // where images are kept in containerd it is another digest, which takes longer to compute
		if digest, err := p.image.Digest(); err != nil || id == digest {
			return err
		}
	}
	r, w := io.Pipe()
	go func() {
		_, err := p.image.WriteTo(w)
		_ = w.CloseWithError(err)
	}()
	defer func() { _ = r.Close() }()
	if err := p.Host.Run(ctx, remote.Command{Args: []string{"docker", "load", "--quiet"}, Stdin: r}); err != nil {
		return fmt.Errorf("send image %s: %w", p.image.Reference(), err)
	}
	return nil
}

// pull has the machine fetch the image from its registry. That it is the one
// which was asked for is not left to the word of the registry.
func (p *preparedContainer) pull(ctx context.Context) error {
	fail := func(err error) error {
		return &Error{Summary: "Image not pulled", Err: fmt.Errorf("pull image on %s: %w", p.Host, err),
			Remedy: "The machine pulls the image itself: it must reach the registry and be logged in there (docker login). Without image the " +
				"provider makes one of ccctl and sends it."}
	}
	found, err := p.pulled(ctx)
	if _, known := remote.ExitCode(err); err != nil && !known {
		return err
	}
	if err == nil && found {
		return nil
	}
	if _, err := p.docker(ctx, "pull", "--quiet", p.Image.Reference); err != nil {
		if _, known := remote.ExitCode(err); !known {
			return err
		}
		return fail(err)
	}
	switch found, err = p.pulled(ctx); {
	case err != nil:
		return err
	case !found:
		return fail(fmt.Errorf("%s: what came has another digest or is not an image of ccctl", p.Image.Reference))
	}
	return nil
}

// pulled tells that the machine has the image, and that it is a key server's.
func (p *preparedContainer) pulled(ctx context.Context) (bool, error) {
	out, err := p.docker(ctx, "image", "inspect", "--format", "{{join .RepoDigests \" \"}}|{{join .Config.Entrypoint \" \"}}", p.Image.Reference)
	if err != nil {
		return false, err
	}
	digests, entry, _ := strings.Cut(out, "|")
	_, want, _ := strings.Cut(p.Image.Reference, "@")
	for d := range strings.FieldsSeq(digests) {
		if strings.HasSuffix(d, "@"+want) {
			return entry == image.Program, nil
		}
	}
	return false, nil
}

// Restart policies of a container, in Docker's words.
const (
	restartAlways  = "unless-stopped"
	restartFailure = "on-failure"
	restartNever   = "no"
)

// RestartPolicies are the values of [KeyServerContainer.Restart].
func RestartPolicies() []string { return []string{restartAlways, restartFailure, restartNever} }

func (k KeyServerContainer) restart() string {
	if k.Restart == "" {
		return restartAlways
	}
	return k.Restart
}

// checkMemory finds what does not go with secrets that are in memory alone.
func (k KeyServerContainer) checkMemory(add func(field, message, remedy string)) {
	if k.InMemory && k.restart() != restartNever {
		add("secrets_on_disk", "is false, which does not go with the restart policy "+fmt.Sprintf("%q", k.restart()),
			`a container that Docker starts again would have no keys: nobody hands them over but an apply; write restart_policy = "no"`)
	}
}
