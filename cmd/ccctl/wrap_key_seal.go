package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/kmskey"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
)

// sealing is a request to encrypt a wrap key with a key that a service keeps.
type sealing struct {
	key, out, kmsKey, transitKey string
	context                      []string
}

// sealed is what became of it.
type sealed struct {
	File      string `json:"file"`
	WrapKey   string `json:"wrap_key"`
	SealedBy  string `json:"sealed_by"`
	Reference string `json:"reference"`
}

func newWrapKeySealCommand(u *ui) *cobra.Command {
	var s sealing
	cmd := &cobra.Command{
		Use:   "seal -w KEY (--kms-key KEYID | --transit-key MOUNT/KEY) -o FILE",
		Short: "Encrypt a wrap key with a key in Alibaba Cloud KMS or Vault Transit",
		Long: `seal lets a service that keeps keys encrypt the wrap key, and writes the
ciphertext to a new file. The file is no secret: it may lie beside the
configuration, and whoever may decrypt with the service's key can use it. seal
prints the reference by which the other commands, cc_wrap_key and the key server
read it.

With --kms-key it is Alibaba Cloud's Key Management Service, and the key's id, ARN
or alias (alias/NAME). Region and credentials are those of the environment
(ALICLOUD_REGION, ALICLOUD_ACCESS_KEY and so on). A --context is authenticated
with the key and is part of the reference, so that one model's key is not taken
for another's.

With --transit-key it is the Transit engine of HashiCorp Vault or OpenBao, which
VAULT_ADDR, VAULT_TOKEN and so on name.

Before you delete another copy of the wrap key, see that the service gives it
back: ccctl wrap-key fingerprint REFERENCE.`,
		Example: `  ccctl wrap-key seal -w wrap-key --kms-key alias/models --context model=resnet50 -o wrap-key.kms
  head -c 16 /dev/urandom | ccctl wrap-key seal -w - --transit-key transit/models -o wrap-key.vault`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := u.seal(cmd.Context(), s)
			if err != nil {
				return err
			}
			return u.report(result, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, result.Reference)
				return err
			})
		},
	}
	keyFlag(cmd, &s.key, "the wrap key: a file, - or a reference")
	cmd.Flags().StringVarP(&s.out, "output", "o", "", "the new `FILE`, which must not exist")
	require(cmd, "output")
	cmd.Flags().StringVar(&s.kmsKey, "kms-key", "", "`KEYID` in Alibaba Cloud KMS")
	cmd.Flags().StringVar(&s.transitKey, "transit-key", "", "`MOUNT/KEY` of Vault's Transit engine")
	cmd.Flags().StringArrayVar(&s.context, "context", nil, "`NAME=VALUE` of the encryption context, with --kms-key; may be repeated")
	u.jsonFlag(cmd)
	return cmd
}

func (u *ui) seal(ctx context.Context, s sealing) (sealed, error) {
	if (s.kmsKey == "") == (s.transitKey == "") {
		return sealed{}, usagef("ccctl wrap-key seal: give either --kms-key or --transit-key")
	}
	if s.transitKey != "" && len(s.context) > 0 {
		return sealed{}, usagef("ccctl wrap-key seal: --context goes with --kms-key only")
	}
	if _, err := os.Lstat(s.out); err == nil {
		return sealed{}, withHint(fmt.Errorf("seal wrap key to %s: %w", s.out, fs.ErrExist), "a key that data may depend on is never overwritten; choose another name or move the file away")
	}
	seal, err := s.by()
	if err != nil {
		return sealed{}, usagef("ccctl wrap-key seal: %w", err)
	}
	key, err := u.openKey(ctx, s.key)
	if err != nil {
		return sealed{}, err
	}
	defer clear(key[:])
	line, result, err := seal(ctx, (*[keysource.Size]byte)(&key))
	if err != nil {
		return sealed{}, keySourceError(err)
	}
	if err := atomicfile.WriteNew(s.out, []byte(line+"\n"), 0o644); err != nil {
		return sealed{}, fmt.Errorf("seal wrap key: %w", err)
	}
	result.File, result.WrapKey = s.out, key.Fingerprint()
	return result, nil
}

// by is the service that does it.
func (s sealing) by() (func(context.Context, *[keysource.Size]byte) (string, sealed, error), error) {
	if s.transitKey != "" {
		ref := vaultkey.Scheme + "transit:" + s.transitKey + "@" + s.out
		t, err := vaultkey.ParseTransit(ref)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, key *[keysource.Size]byte) (string, sealed, error) {
			line, err := t.Seal(ctx, key)
			return line, sealed{SealedBy: s.transitKey, Reference: ref}, err
		}, nil
	}
	pairs, err := kmskey.ParseContext(s.context)
	if err != nil {
		return nil, fmt.Errorf("--context: %w", err)
	}
	k := kmskey.Key{File: s.out, Context: pairs}
	if again, err := kmskey.Parse(k.Reference()); err != nil || !maps.Equal(again.Context, pairs) {
		return nil, errors.New("--context: a name or value with a comma or an @ cannot be written in a reference")
	}
	return func(ctx context.Context, key *[keysource.Size]byte) (string, sealed, error) {
		made, err := k.Seal(ctx, s.kmsKey, key)
		if err != nil {
			return "", sealed{}, err
		}
		return made.CiphertextBlob, sealed{SealedBy: made.KeyID, Reference: k.Reference()}, nil
	}, nil
}
