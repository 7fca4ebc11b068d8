package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// Options say what is looked at.
type Options struct {
	// Config is the file of a key server's configuration; empty: none is looked at.
	Config string
	// Place is where collateral comes from; nil: where Config says. Origin tells people where it was named.
	Place  *deploy.CollateralPlace
	Origin string
	// FMSPC is a family of platforms to look at in particular; nil: none.
	FMSPC *dcap.FMSPC
	// Roots are trusted instead of Intel's; nil: as Config says, or Intel's.
	Roots []*x509.Certificate
	// KeyServer is passed on to the check of the configuration.
	KeyServer keyserver.Options
	// Now is the clock; required.
	Now func() time.Time
}

// visit is one examination: what a check has learnt, for those after it.
type visit struct {
	Options
	cfg    *keyserver.Config
	client *pccs.Client
	bundle *pccs.Bundle
	// reached is set when the service has answered in a way that makes it worth asking on.
	reached bool
	seen    []*dcap.Inspection
}

// Installation returns the checks of a key server's installation: configuration and files, then the collateral service,
// then what it serves.
func Installation(opts Options) []Check {
	v := &visit{Options: opts}
	return []Check{
		{"configuration", v.configuration},
		{"files", v.files},
		{"certificate", v.certificate},
		{"collateral source", v.source},
		{"collateral service", v.service},
		{"collateral", v.collateral},
		{"early TCB levels", v.early},
		{"rules", v.rules},
	}
}

// configuration is what "ccctl keyserver check-config" looks at.
func (v *visit) configuration(context.Context) []Finding {
	if v.Config == "" {
		return nil
	}
	cfg, warnings, err := keyserver.CheckConfig(v.Config, v.KeyServer)
	var problems *keyserver.ConfigError
	switch {
	case errors.As(err, &problems):
		// What can be read of it still says which service to look at.
		v.cfg, _ = keyserver.LoadConfig(v.Config)
		var all []Finding
		for _, p := range problems.Problems {
			all = append(all, fail("correct "+v.Config, "%s", p))
		}
		return all
	case err != nil:
		return []Finding{failed(err)}
	}
	v.cfg = cfg
	all := []Finding{ok("%s: %d rules, %d secrets, listening on %s", v.Config, len(cfg.Rules), len(cfg.Secrets), cfg.Listen)}
	for _, w := range warnings {
		all = append(all, warn("", "%s", w))
	}
	return all
}

// files looks at who may read and replace what the server is made of.
func (v *visit) files(context.Context) []Finding {
	switch {
	case v.cfg == nil:
		return nil
	case runtime.GOOS == "windows":
		return []Finding{skip("modes say nothing on this system")}
	}
	var bad []Finding
	looked := 0
	// A group's access is a warning: on many systems every user is a group.
	look := func(name, what string, forbidden os.FileMode, may string) {
		info, err := os.Stat(name)
		if name == "" || err != nil {
			return // the configuration's own check has said so
		}
		looked++
		mode := info.Mode().Perm()
		sticky := info.IsDir() && info.Mode()&os.ModeSticky != 0 // only a file's owner may replace it there
		if mode&forbidden == 0 || sticky {
			return
		}
		report, who := fail, "every user of this machine"
		if mode&forbidden&0o007 == 0 {
			report, who = warn, "its group"
		}
		bad = append(bad, report(fmt.Sprintf("chmod %#o %s", mode&^forbidden, name), "%s %s has mode %#o: %s may %s", what, name, mode, who, may))
	}
	const rules = "change what is released to whom"
	look(v.Config, "configuration", 0o022, rules)
	look(filepath.Dir(v.Config), "directory", 0o022, rules)
	look(v.cfg.TLS.PrivateKey, "private key", 0o027, "pass for this server")
	look(v.cfg.TLS.Certificate, "certificate", 0o022, "replace it")
	look(v.cfg.AllowTrustedRoot, "trusted root", 0o022, "replace it")
	look(v.cfg.Collateral.CA, "authority of the collateral service", 0o022, "replace it")
	if a := v.cfg.Audit; a != nil {
		look(a.File, "audit log", 0o022, "change it")
		look(a.CheckpointKey, "checkpoint key", 0o077, "sign checkpoints")
	}
	if len(bad) > 0 {
		return bad
	}
	return []Finding{ok("the modes of %d files keep others out", looked)}
}

// certificate says how long the server's certificate lasts. That it has expired, or is about to, the configuration's own
// check has said.
func (v *visit) certificate(context.Context) []Finding {
	if v.cfg == nil {
		return nil
	}
	text, err := os.ReadFile(v.cfg.TLS.Certificate)
	if err != nil {
		return nil // the configuration's own check has said so
	}
	cert, err := firstCertificate(text)
	if err != nil {
		return nil
	}
	const soon = 14 * 24 * time.Hour
	if left := cert.NotAfter.Sub(v.Now()); left >= soon {
		return []Finding{ok("for %s, expires on %s, in %s", strings.Join(names(cert), ", "), date(cert.NotAfter), period(left))}
	}
	return nil
}

// source finds out which service or file collateral comes from.
func (v *visit) source(context.Context) []Finding {
	place, origin := v.Place, v.Origin
	if place == nil {
		if v.cfg == nil {
			return []Finding{skip("the configuration could not be read")}
		}
		c := &v.cfg.Collateral
		place, origin = &deploy.CollateralPlace{
			Region: c.Region, Network: c.Network, URL: c.URL, CA: c.CA, RootCACRLURL: c.RootCACRLURL, Update: c.Update, Bundle: c.Bundle,
		}, v.Config
	}
	v.Place = place
	if v.Roots == nil && v.cfg != nil && v.cfg.AllowTrustedRoot != "" {
		var err error
		if v.Roots, err = deploy.ReadTrustedRoots(v.cfg.AllowTrustedRoot); err != nil {
			return []Finding{failed(err)}
		}
	}
	var err error
	if place.Bundle != "" {
		if v.bundle, err = deploy.ReadBundle(place.Bundle); err != nil {
			return []Finding{failed(err)}
		}
		return []Finding{ok("file %s, named by %s", place.Bundle, origin)}
	}
	if v.client, err = place.Client(); err != nil {
		return []Finding{failed(err)}
	}
	return []Finding{ok("%s, named by %s", v.client.URL(), origin)}
}
