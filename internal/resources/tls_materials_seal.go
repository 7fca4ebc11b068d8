package resources

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// This file is the part of cc_tls_materials about an ssl.cfg that is kept encrypted only.

// tlsSealTypes are the attributes of encrypted_ssl_config.
var tlsSealTypes = map[string]attr.Type{
	"enclave_path": types.StringType, "format": types.Int64Type,
	"wrap_key_file": types.StringType, "wrap_key_wo": types.StringType, "wrap_key_wo_version": types.Int64Type,
}

func encryptedSSLConfigAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "Keep `ssl.cfg` encrypted only, in `ssl.cfg.pf`, a protected file of Gramine. The server's private key is made in memory, goes into that file and is " +
			"in no other: neither `ssl.cfg` nor `server/key.pem` is written. Since nobody can read it back, whatever changes `ssl.cfg` (its names, its clients, the trusted " +
			"authorities, the wrap key, the path) takes a new server certificate with a new key, as does going over to this form or back. The keys of the authority and of the " +
			"clients stay in their files.",
		Optional: true,
		Attributes: map[string]schema.Attribute{
			"enclave_path": schema.StringAttribute{
				MarkdownDescription: "Path under which Gramine opens the file: the `uri` of the manifest's mount without `file:`.",
				Required:            true, Validators: []validator.String{enclavePath{}}, PlanModifiers: []planmodifier.String{sameEnclavePath{}},
			},
			"format": schema.Int64Attribute{
				MarkdownDescription: "Version of the format: `1` (default), which every Gramine opens, or `2`, which needs Gramine 1.9.", Optional: true,
				Validators: []validator.Int64{int64validator.OneOf(int64(protectedfile.FormatV1), int64(protectedfile.FormatV2))},
			},
			"wrap_key_file": schema.StringAttribute{
				MarkdownDescription: "Path of the file with the 16 bytes of the wrap key. It may be missing as long as no server certificate is issued. " +
					"Exactly one of `wrap_key_file` and `wrap_key_wo` must be set.",
				Optional: true, PlanModifiers: []planmodifier.String{samePath{}},
				Validators: []validator.String{filePath{}, stringvalidator.ExactlyOneOf(sibling("wrap_key_wo"))},
			},
			"wrap_key_wo": schema.StringAttribute{
				MarkdownDescription: "The wrap key as 32 hex digits, from an ephemeral value. It is in no state and no plan.",
				Optional:            true, WriteOnly: true, Sensitive: true, Validators: []validator.String{stringvalidator.AlsoRequires(sibling("wrap_key_wo_version"))},
			},
			"wrap_key_wo_version": schema.Int64Attribute{
				MarkdownDescription: "Version of `wrap_key_wo`, which Terraform cannot compare: change it with the key.", Optional: true,
				Validators: []validator.Int64{int64validator.AlsoRequires(sibling("wrap_key_wo"))},
			},
		},
	}
}

// objectString is a string of an object, null if there is none.
func objectString(o types.Object, name string) types.String {
	if s, ok := o.Attributes()[name].(types.String); ok {
		return s
	}
	return types.StringNull()
}

// objectInt64 is a number of an object, null if there is none.
func objectInt64(o types.Object, name string) types.Int64 {
	if n, ok := o.Attributes()[name].(types.Int64); ok {
		return n
	}
	return types.Int64Null()
}

// readSeal adds to spec how ssl.cfg is encrypted, with the wrap key as far as it is known.
func (m *tlsMaterialsModel) readSeal(config *tlsMaterialsModel, spec *deploy.TLSSpec) error {
	if m.EncryptedSSLConfig.IsNull() {
		return nil
	}
	seal := &deploy.SSLConfigSeal{
		EnclavePath: objectString(m.EncryptedSSLConfig, "enclave_path").ValueString(),
		Format:      protectedfile.Format(objectInt64(m.EncryptedSSLConfig, "format").ValueInt64()),
	}
	spec.Seal = seal
	file, value := objectString(config.EncryptedSSLConfig, "wrap_key_file"), objectString(config.EncryptedSSLConfig, "wrap_key_wo")
	var err error
	switch {
	case file.IsUnknown() || value.IsUnknown():
		seal.KeyPending, seal.KeyOpen = true, true
	case !value.IsNull():
		if seal.Key, err = protectedfile.ParseHexKey(value.ValueString()); err != nil {
			return fmt.Errorf("read encrypted_ssl_config.wrap_key_wo: %w", err)
		}
	default:
		seal.Key, err = deploy.OpenWrapKey(file.ValueString())
		if errors.Is(err, fs.ErrNotExist) { // it may be made in the same apply, or never be needed here
			seal.KeyPending = true
		} else if err != nil {
			return fmt.Errorf("read encrypted_ssl_config.wrap_key_file: %w", err)
		}
	}
	return nil
}

// checkSealVersion refuses another key in wrap_key_wo under the same version.
func (m *tlsMaterialsModel) checkSealVersion(old *tlsMaterialsModel, spec deploy.TLSSpec) error {
	was := old.EncryptedSSLConfigKeyID.ValueString()
	version := func(m *tlsMaterialsModel) types.Int64 {
		return objectInt64(m.EncryptedSSLConfig, "wrap_key_wo_version")
	}
	if spec.Seal == nil || spec.Seal.KeyPending || was == "" || version(m).IsNull() || !version(m).Equal(version(old)) || spec.Seal.Key.Fingerprint() == was {
		return nil
	}
	return &deploy.Error{Summary: "Wrap key changed without its version",
		Err: fmt.Errorf("compare encrypted_ssl_config.wrap_key_wo: its fingerprint is %s, ssl.cfg was encrypted under %s", spec.Seal.Key.Fingerprint(), was),
		Remedy: "Change wrap_key_wo_version to have ssl.cfg encrypted under the new key, with a new certificate; or give the kept key. An ephemeral value that is generated " +
			"anew on every run cannot be used here."}
}

// sealed is what the state says of the encrypted ssl.cfg.
func (m *tlsMaterialsModel) sealed() *tlsmaterials.SealedSSLConfig {
	if m.EncryptedSSLConfigSHA256.IsNull() {
		return nil
	}
	s := &tlsmaterials.SealedSSLConfig{
		EnclavePath: objectString(m.EncryptedSSLConfig, "enclave_path").ValueString(), Format: int(objectInt64(m.EncryptedSSLConfig, "format").ValueInt64()),
		KeyID: m.EncryptedSSLConfigKeyID.ValueString(), HeaderSHA256: m.EncryptedSSLConfigSHA256.ValueString(), Size: m.EncryptedSSLConfigSize.ValueInt64(),
	}
	if s.Format == 0 {
		s.Format = int(protectedfile.FormatV1)
	}
	return s
}

// setSealed takes over what is known of an encrypted ssl.cfg; nil for none.
func (m *tlsMaterialsModel) setSealed(s *tlsmaterials.SealedSSLConfig) {
	if s == nil {
		m.EncryptedSSLConfigFile, m.EncryptedSSLConfigSHA256, m.EncryptedSSLConfigKeyID = types.StringNull(), types.StringNull(), types.StringNull()
		m.EncryptedSSLConfigSize = types.Int64Null()
		return
	}
	m.EncryptedSSLConfigFile = types.StringUnknown() // planFiles knows
	m.EncryptedSSLConfigSHA256, m.EncryptedSSLConfigSize = types.StringValue(s.HeaderSHA256), types.Int64Value(s.Size)
	m.EncryptedSSLConfigKeyID = optionalString(s.KeyID)
}

// leaveSealOpen marks what encrypting ssl.cfg will tell as unknown, or null where it is not encrypted.
func (m *tlsMaterialsModel) leaveSealOpen() {
	if m.EncryptedSSLConfig.IsNull() {
		m.setSealed(nil)
		return
	}
	m.EncryptedSSLConfigFile, m.EncryptedSSLConfigSHA256, m.EncryptedSSLConfigKeyID = types.StringUnknown(), types.StringUnknown(), types.StringUnknown()
	m.EncryptedSSLConfigSize = types.Int64Unknown()
}
