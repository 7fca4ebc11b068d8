package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// enclaveOptions are the flags of "ccsim enclave".
type enclaveOptions struct {
	platform             platformFlag
	identity             identityFlags
	servers, ca, release string
	keyFile, extract     string
	open                 []string
	timeout              time.Duration
}

func newEnclaveCommand(s *streams) *cobra.Command {
	var o enclaveOptions
	cmd := &cobra.Command{
		Use:   "enclave --platform DIR --mrenclave HEX --server HOST:PORT --ca FILE",
		Short: "Fetch the protected files key from a key server as a Gramine enclave does",
		Long: `enclave attests to a key server over RA-TLS and receives the key of its protected files. The key is never
printed. With --open it goes on as the enclave would: it opens the files with the key, checks that they
were made for the path under which the enclave sees them, and prints the SHA-256 of each plaintext.

The servers of a list are tried until one accepts a connection; what that one says is final, as in Gramine.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	o.platform.add(cmd)
	o.identity.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.servers, "server", "", "HOST:PORT of the key server, or several separated by commas (required)")
	f.StringVar(&o.ca, "ca", "", "PEM file with the CA that issued the server's certificate (required)")
	f.StringVar(&o.release, "gramine", "1.9", "release of Gramine to play: "+strings.Join(sgxsim.Releases(), ", "))
	f.StringVarP(&o.keyFile, "output", "o", "", "file to write the received key to: 16 raw bytes, mode 0600")
	f.StringArrayVar(&o.open, "open", nil, "protected file to open, as FILE=ENCLAVE_PATH; may be repeated")
	f.StringVar(&o.extract, "extract", "", "directory to write the plaintexts of --open below, under their enclave paths")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to wait for the server; Gramine waits for ever")
	return cmd
}

func (o *enclaveOptions) run(ctx context.Context, s *streams) error {
	id, err := o.identity.identity()
	if err != nil {
		return err
	}
	files, err := o.files()
	if err != nil {
		return err
	}
	enclave, err := o.enclave(id)
	if err != nil {
		return err
	}
	key, err := o.provision(ctx, s, enclave)
	if err != nil {
		return err
	}
	defer clear(key[:])
	if o.keyFile != "" {
		if err := atomicfile.WriteFile(o.keyFile, key[:], 0o600); err != nil {
			return err
		}
	}
	if len(files) == 0 {
		return nil
	}
	pfKey, err := protectedfile.ParseKey(key[:])
	if err != nil {
		return err
	}
	return openFiles(ctx, s, pfKey, files, o.extract)
}

// files reads the arguments of --open before anything happens.
func (o *enclaveOptions) files() ([]protectedFile, error) {
	var all []protectedFile
	for _, arg := range o.open {
		// The last "=", for a file's name may have one and an enclave path hardly does.
		i := strings.LastIndex(arg, "=")
		if i <= 0 || i == len(arg)-1 {
			return nil, usagef("--open %q: want FILE=ENCLAVE_PATH", arg)
		}
		all = append(all, protectedFile{arg[:i], arg[i+1:]})
	}
	if o.extract != "" && len(all) == 0 {
		return nil, usagef("--extract needs --open")
	}
	return all, nil
}

func (o *enclaveOptions) enclave(id sgxsim.Identity) (*sgxsim.Enclave, error) {
	switch {
	case o.servers == "":
		return nil, usagef("--server is missing: name the key server")
	case o.ca == "":
		return nil, usagef("--ca is missing: name the file with the CA of the key server's certificate")
	}
	platform, err := o.platform.open()
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	return &sgxsim.Enclave{Quoter: platform.Quoter(id), Release: o.release, Servers: o.servers, CA: ca}, nil
}

func (o *enclaveOptions) provision(ctx context.Context, s *streams, enclave *sgxsim.Enclave) (key [16]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	delivery, err := enclave.Provision(ctx)
	if err != nil {
		var e *sgxsim.EnclaveError
		if errors.As(err, &e) && e.Step == sgxsim.StepConfigure {
			return key, usageError{err}
		}
		return key, err
	}
	defer clear(delivery.Secret)
	if key, err = delivery.Key(); err != nil {
		return key, err
	}
	s.note("enclave: %s released the key to Gramine %s", delivery.Server, o.release)
	return key, nil
}
