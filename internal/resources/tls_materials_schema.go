package resources

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

var (
	tlsOnDestroy = words{
		{"keep", "leaves the files where they are"},
		{"delete", "deletes them, as far as they are still the ones that were made"},
	}
	tlsOnMissing = words{
		{"recreate", "makes it again: a certificate from the state, a private key together with a new certificate of the same authority"},
		{"ignore", "takes it for a file that is kept on another machine, as on a CI runner without a disk of its own"},
	}
	tlsRotations = words{
		{string(tlsmaterials.RotationNone), "has one authority, and drops the other one where there are two"},
		{string(tlsmaterials.RotationTrustNext), "makes the next authority and has it trusted beside the present one, which goes on issuing"},
		{string(tlsmaterials.RotationUseNext), "has the next one issue all certificates, and the previous one still trusted"},
	}
	tlsKeyAlgorithms = words{
		{string(tlsmaterials.ECDSAP256), "which every client of this product accepts"},
		{string(tlsmaterials.RSA3072), "RSA of 3072 bits"},
		{string(tlsmaterials.RSA4096), "RSA of 4096 bits, as the tutorial's script makes"},
	}
)

// Limits of the periods in hours; 20 years stay within what every peer reads.
const (
	tlsMinHours = 1
	tlsMaxHours = 20 * 365 * 24
)

func (r *tlsMaterialsResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	hours := []validator.Int64{int64validator.Between(tlsMinHours, tlsMaxHours)}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	file := func(name, remark string) schema.StringAttribute {
		return computed(fmt.Sprintf("Path of `%s`%s It is unknown while its content is about to change, so that what uses the file is planned again.", name, remark))
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A private certificate authority, certificates for a server and its clients, and TensorFlow Serving's `ssl.cfg`, " +
			"in the layout of the tutorial's `ssl_configure`. The certificates are in the state; the private keys are in files that only their owner may read, and nowhere else. " +
			"With `encrypted_ssl_config` the server's is in an encrypted file alone.\n\n" +
			"An apply renews certificates in their last `early_renewal_hours`. TensorFlow Serving reads `ssl.cfg` once, when it starts: bring the new file to it and start it again " +
			"before the present certificate ends. A certificate is revoked by letting it end, so keep `validity_period_hours` short where that matters; there are no revocation lists.",
		Attributes: map[string]schema.Attribute{
			// Required.
			"directory": schema.StringAttribute{
				MarkdownDescription: "Directory of the files. Creating the resource never overwrites one of them; changing the directory moves them.",
				Required:            true,
				Validators:          []validator.String{directoryPath{}},
				PlanModifiers:       []planmodifier.String{samePath{}},
			},
			"server_names": schema.ListAttribute{
				MarkdownDescription: "DNS names and addresses by which clients reach the server. The first is the common name too. " +
					"An IPv4 address is also written as a DNS name, which is where clients before Gramine 1.8 look for it.",
				Required: true, ElementType: types.StringType,
				Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.UniqueValues(), listvalidator.ValueStringsAre(hostName{tlsmaterials.ValidateServerName, "a DNS name in lower case, a wildcard for one label, or an IP address"})},
			},
			// Optional.
			"client_name": schema.StringAttribute{
				MarkdownDescription: "DNS name of the client whose certificate is in `client/`. Without any client, TLS is one-way: the server asks for no client certificate.",
				Optional:            true, Validators: []validator.String{clientHostName},
			},
			"additional_client_names": schema.SetAttribute{
				MarkdownDescription: "DNS names of further clients; each has its certificate and key in `clients/NAME/`.",
				Optional:            true, ElementType: types.StringType,
				Validators: []validator.Set{setvalidator.SizeAtLeast(1), setvalidator.ValueStringsAre(clientHostName)},
			},
			"key_algorithm": schema.StringAttribute{
				MarkdownDescription: "Algorithm of the keys: " + tlsKeyAlgorithms.markdown() + " A change makes new certificates; the authority keeps its key.",
				Optional:            true, Computed: true, Default: stringdefault.StaticString(tlsKeyAlgorithms.byDefault()),
				Validators: []validator.String{tlsKeyAlgorithms},
			},
			"validity_period_hours": schema.Int64Attribute{
				MarkdownDescription: fmt.Sprintf("How long certificates are valid, in hours (default %d). They never outlive their authority. A change makes new certificates.", defaultValidityHours),
				Optional:            true, Computed: true, Default: int64default.StaticInt64(defaultValidityHours), Validators: hours,
			},
			"ca_validity_period_hours": schema.Int64Attribute{
				MarkdownDescription: fmt.Sprintf("How long the authority is valid, in hours (default %d). A change takes effect with the next authority.", defaultCAValidityHours),
				Optional:            true, Computed: true, Default: int64default.StaticInt64(defaultCAValidityHours), Validators: hours,
			},
			"ca_rotation": schema.StringAttribute{
				MarkdownDescription: "How far to go from one authority to the next: " + tlsRotations.markdown() +
					" Take one step with each apply, and before the next one bring `ca_cert.pem`, `ssl.cfg` and the clients' certificates to where they are used.",
				Optional: true, Computed: true, Default: stringdefault.StaticString(tlsRotations.byDefault()), Validators: []validator.String{tlsRotations},
			},
			"issuer": schema.SingleNestedAttribute{
				MarkdownDescription: "An authority that exists already, to issue the certificates in place of one that is made. Its private key is needed when a certificate is issued, and is not kept.",
				Optional:            true,
				Attributes: map[string]schema.Attribute{
					"certificate_pem": schema.StringAttribute{
						MarkdownDescription: "The authority's certificate in PEM. It must be self-signed: gRPC takes nothing else for a root of trust.", Required: true,
					},
					"private_key_file": schema.StringAttribute{
						MarkdownDescription: "Path of a file with the authority's private key in PEM. It may be missing as long as nothing is issued.",
						Optional:            true, Validators: []validator.String{filePath{}, stringvalidator.ConflictsWith(path.MatchRelative().AtParent().AtName("private_key_wo"))},
					},
					"private_key_wo": schema.StringAttribute{
						MarkdownDescription: "The authority's private key in PEM, from an ephemeral value. It is in no state and no plan, and it is used when a certificate is issued, and for nothing else.",
						Optional:            true, WriteOnly: true, Sensitive: true,
					},
					"private_key_wo_version": schema.Int64Attribute{
						MarkdownDescription: "Number of `private_key_wo`. It need not be given: another key comes with another `certificate_pem`. Changing it has all certificates issued again with the key.",
						Optional:            true, Validators: []validator.Int64{int64validator.AlsoRequires(sibling("private_key_wo"))},
					},
				},
			},
			"early_renewal_hours": schema.Int64Attribute{
				MarkdownDescription: fmt.Sprintf("How long before its end a certificate is renewed by the next apply, in hours. Default: %d, or a third of `validity_period_hours` if that is less.", defaultEarlyRenewalHours),
				Optional:            true, Computed: true, Validators: []validator.Int64{int64validator.Between(0, tlsMaxHours)},
			},
			"ssl_config": schema.BoolAttribute{
				MarkdownDescription: "Whether to write `ssl.cfg`. Default: `true` if there is a client. A key server needs none; TensorFlow Serving with one-way TLS does.",
				Optional:            true, Computed: true,
			},
			"encrypted_ssl_config": encryptedSSLConfigAttribute(),
			"on_destroy": schema.StringAttribute{
				MarkdownDescription: "What destroying the resource does: " + tlsOnDestroy.markdown(),
				Optional:            true, Computed: true, Default: stringdefault.StaticString(tlsOnDestroy.byDefault()), Validators: []validator.String{tlsOnDestroy},
			},
			"on_missing": schema.StringAttribute{
				MarkdownDescription: "What a missing file means: " + tlsOnMissing.markdown() + " The authority's key may always be kept elsewhere until a certificate has to be issued; " +
					"a new authority is never made silently.",
				Optional: true, Computed: true, Default: stringdefault.StaticString(tlsOnMissing.byDefault()), Validators: []validator.String{tlsOnMissing},
			},
			// Computed: files.
			"ca_certificate_file":       file("ca_cert.pem", ", which clients have to trust."),
			"server_certificate_file":   file("server/cert.pem", "."),
			"server_key_file":           file("server/key.pem", "; null with `encrypted_ssl_config`."),
			"client_certificate_file":   file("client/cert.pem", "; null without `client_name`."),
			"client_key_file":           file("client/key.pem", "; null without `client_name`."),
			"ssl_config_file":           file("ssl.cfg", "; null without `ssl_config` and with `encrypted_ssl_config`. It contains the server's private key: encrypt it with `cc_encrypted_file`."),
			"encrypted_ssl_config_file": file("ssl.cfg.pf", "; null without `encrypted_ssl_config`. It goes to the machine of the enclave as it is."),
			// Computed: contents that are public.
			"encrypted_ssl_config_header_sha256": computed("SHA-256 of the first node of `ssl.cfg.pf`, which vouches for all others."),
			"encrypted_ssl_config_size":          schema.Int64Attribute{MarkdownDescription: "Size of `ssl.cfg.pf` in bytes.", Computed: true},
			"encrypted_ssl_config_key_id":        computed("Fingerprint of the wrap key of `ssl.cfg.pf`, as `cc_wrap_key` and `ccctl wrap-key fingerprint` give it."),
			"ca_certificate_pem":                 computed("Certificates of the trusted authorities, in PEM; the first has issued the others' certificates."),
			"server_certificate_pem":             computed("The server's certificate in PEM."),
			"client_certificate_pem":             computed("The client's certificate in PEM; null without `client_name`."),
			"ca_certificate_sha256":              computed("SHA-256 of the authority's certificate, 64 hex digits."),
			"server_certificate_sha256":          computed("SHA-256 of the server's certificate, 64 hex digits."),
			"ca_not_after":                       computed("When the authority ends (RFC 3339)."),
			"not_after":                          computed("When the first of the certificates ends (RFC 3339)."),
			"additional_client_certificates_pem": schema.MapAttribute{
				MarkdownDescription: "Certificates of the further clients in PEM, by name.", Computed: true, ElementType: types.StringType,
			},
			"ready_for_renewal": schema.BoolAttribute{
				MarkdownDescription: "Whether a certificate is in its last `early_renewal_hours`, so that the next apply renews it.", Computed: true,
			},
			"problems": schema.ListAttribute{
				MarkdownDescription: "What a refresh found wrong and the next apply puts right, such as `server/key.pem: missing`. Empty when all is well.",
				Computed:            true, ElementType: types.StringType,
			},
			"id": schema.StringAttribute{
				MarkdownDescription: "SHA-256 of the first authority's certificate.",
				Computed:            true, PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
		},
	}
}
