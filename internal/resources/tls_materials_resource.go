package resources

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

var (
	_ resource.Resource                   = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithConfigure      = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithImportState    = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*tlsMaterialsResource)(nil)
	_ resource.ResourceWithValidateConfig = (*tlsMaterialsResource)(nil)
)

// tlsMaterialsResource is cc_tls_materials.
type tlsMaterialsResource struct{ backend *Backend }

// NewTLSMaterialsResource returns cc_tls_materials: a certificate authority,
// certificates and ssl.cfg in a local directory.
func NewTLSMaterialsResource() resource.Resource { return &tlsMaterialsResource{} }

type tlsMaterialsModel struct {
	ID                    types.String `tfsdk:"id"`
	Directory             types.String `tfsdk:"directory"`
	ServerNames           types.List   `tfsdk:"server_names"` //< types.String
	ClientName            types.String `tfsdk:"client_name"`
	AdditionalClientNames types.Set    `tfsdk:"additional_client_names"` //< types.String
	KeyAlgorithm          types.String `tfsdk:"key_algorithm"`
	ValidityHours         types.Int64  `tfsdk:"validity_period_hours"`
	CAValidityHours       types.Int64  `tfsdk:"ca_validity_period_hours"`
	EarlyRenewalHours     types.Int64  `tfsdk:"early_renewal_hours"`
	SSLConfig             types.Bool   `tfsdk:"ssl_config"`
	OnDestroy             types.String `tfsdk:"on_destroy"`
	OnMissing             types.String `tfsdk:"on_missing"`

	CACertificateFile     types.String `tfsdk:"ca_certificate_file"`
	ServerCertificateFile types.String `tfsdk:"server_certificate_file"`
	ServerKeyFile         types.String `tfsdk:"server_key_file"`
	ClientCertificateFile types.String `tfsdk:"client_certificate_file"`
	ClientKeyFile         types.String `tfsdk:"client_key_file"`
	SSLConfigFile         types.String `tfsdk:"ssl_config_file"`

	CACertificatePEM                types.String `tfsdk:"ca_certificate_pem"`
	ServerCertificatePEM            types.String `tfsdk:"server_certificate_pem"`
	ClientCertificatePEM            types.String `tfsdk:"client_certificate_pem"`
	AdditionalClientCertificatesPEM types.Map    `tfsdk:"additional_client_certificates_pem"` //< types.String
	CACertificateSHA256             types.String `tfsdk:"ca_certificate_sha256"`
	ServerCertificateSHA256         types.String `tfsdk:"server_certificate_sha256"`
	CANotAfter                      types.String `tfsdk:"ca_not_after"`
	NotAfter                        types.String `tfsdk:"not_after"`
	ReadyForRenewal                 types.Bool   `tfsdk:"ready_for_renewal"`
	Problems                        types.List   `tfsdk:"problems"` //< types.String
}

var (
	tlsOnDestroy = words{
		{"keep", "leaves the files where they are"},
		{"delete", "deletes them, as far as they are still the ones that were made"},
	}
	tlsOnMissing = words{
		{"recreate", "makes it again: a certificate from the state, a private key together with a new certificate of the same authority"},
		{"ignore", "takes it for a file that is kept on another machine, as on a CI runner without a disk of its own"},
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

func (r *tlsMaterialsResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_tls_materials"
}

func (r *tlsMaterialsResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

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
			"TensorFlow Serving reads `ssl.cfg` once: a renewed certificate takes effect when it is started again.",
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
			"early_renewal_hours": schema.Int64Attribute{
				MarkdownDescription: fmt.Sprintf("How long before its end a certificate is renewed by the next apply, in hours. Default: %d, or a third of `validity_period_hours` if that is less.", defaultEarlyRenewalHours),
				Optional:            true, Computed: true, Validators: []validator.Int64{int64validator.Between(0, tlsMaxHours)},
			},
			"ssl_config": schema.BoolAttribute{
				MarkdownDescription: "Whether to write `ssl.cfg`. Default: `true` if there is a client. A key server needs none; TensorFlow Serving with one-way TLS does.",
				Optional:            true, Computed: true,
			},
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
			"ca_certificate_file":     file("ca_cert.pem", ", which clients have to trust."),
			"server_certificate_file": file("server/cert.pem", "."),
			"server_key_file":         file("server/key.pem", "."),
			"client_certificate_file": file("client/cert.pem", "; null without `client_name`."),
			"client_key_file":         file("client/key.pem", "; null without `client_name`."),
			"ssl_config_file":         file("ssl.cfg", "; null without `ssl_config`. It contains the server's private key: encrypt it with `cc_encrypted_file`."),
			// Computed: contents that are public.
			"ca_certificate_pem":        computed("Certificates of the trusted authorities, in PEM; the first has issued the others' certificates."),
			"server_certificate_pem":    computed("The server's certificate in PEM."),
			"client_certificate_pem":    computed("The client's certificate in PEM; null without `client_name`."),
			"ca_certificate_sha256":     computed("SHA-256 of the authority's certificate, 64 hex digits."),
			"server_certificate_sha256": computed("SHA-256 of the server's certificate, 64 hex digits."),
			"ca_not_after":              computed("When the authority ends (RFC 3339)."),
			"not_after":                 computed("When the first of the certificates ends (RFC 3339)."),
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

func (r *tlsMaterialsResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.settle()
	set, err := deploy.CreateTLSMaterials(m.spec(), r.backend.Now(), false)
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not created", explainTLSMaterials(err))
		return
	}
	m.setMaterials(set)
	m.ID, m.ReadyForRenewal = m.CACertificateSHA256, types.BoolValue(false)
	tflog.Debug(ctx, "created TLS materials", map[string]any{"directory": m.Directory.ValueString(), "authority": m.ID.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// Read leaves in the state what the files should be, and adds what is wrong
// with them. It warns of what an apply does not put right.
func (r *tlsMaterialsResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	record, err := m.record()
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "TLS materials in the state unreadable", err)
		return
	}
	o := deploy.ObserveTLSMaterials(m.Directory.ValueString(), record)
	problems := o.Repairable(m.spec().IgnoreMissing)
	m.setProblems(problems)
	m.ReadyForRenewal = types.BoolValue(deploy.TLSRenewalDue(record, m.spec().RenewBefore, r.backend.Now()))
	tflog.Debug(ctx, "found TLS materials", map[string]any{"directory": m.Directory.ValueString(), "problems": len(problems)})
	for _, w := range m.warnings(o, r.backend.Now()) {
		addWarning(&resp.Diagnostics, path.Root("directory"), "", w)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

func (r *tlsMaterialsResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, old tlsMaterialsModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &old)...)
	if resp.Diagnostics.HasError() {
		return
	}
	planned := m
	m.settle()
	set, err := r.update(&m, &old, &planned)
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not updated", explainTLSMaterials(err))
		return
	}
	m.setMaterials(set)
	tflog.Debug(ctx, "updated TLS materials", map[string]any{"directory": m.Directory.ValueString()})
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// update moves the files if need be, then does what the plan announced.
func (r *tlsMaterialsResource) update(m, old, planned *tlsMaterialsModel) (*tlsmaterials.Materials, error) {
	record, err := old.record()
	if err != nil {
		return nil, err
	}
	from, to := old.Directory.ValueString(), m.Directory.ValueString()
	o := deploy.ObserveTLSMaterials(from, record)
	if from != to {
		if err := deploy.MoveTLSMaterials(from, to, o); err != nil {
			return nil, err
		}
		o = deploy.ObserveTLSMaterials(to, record)
	}
	now := r.backend.Now()
	c, err := deploy.PlanTLSMaterials(m.spec(), old.spec().Lifetime, o, now)
	if err != nil {
		return nil, err
	}
	if err := planned.announced(c); err != nil {
		return nil, err
	}
	return deploy.UpdateTLSMaterials(m.spec(), c, o, now)
}

func (r *tlsMaterialsResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m tlsMaterialsModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	dir := m.Directory.ValueString()
	if m.OnDestroy.ValueString() != "delete" {
		resp.Diagnostics.AddAttributeWarning(path.Root("directory"), "TLS materials kept",
			fmt.Sprintf("The certificates and private keys stay in %s. Delete the directory when nothing needs it any more, or import it to manage it again.", dir))
		return
	}
	record, err := m.record()
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "TLS materials in the state unreadable", err)
		return
	}
	left, err := deploy.RemoveTLSMaterials(dir, deploy.ObserveTLSMaterials(dir, record))
	if err != nil {
		addError(&resp.Diagnostics, path.Root("directory"), "TLS materials not deleted", err)
		return
	}
	if len(left) > 0 {
		resp.Diagnostics.AddAttributeWarning(path.Root("directory"), "Files left alone",
			fmt.Sprintf("In %s these files are not the ones that were made, and were not deleted: %s.", dir, strings.Join(slices.Sorted(slices.Values(left)), ", ")))
	}
	tflog.Debug(ctx, "deleted TLS materials", map[string]any{"directory": dir})
}
