package resources

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/datasourcevalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

var (
	_ datasource.DataSourceWithConfigure        = (*quoteVerificationDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*quoteVerificationDataSource)(nil)
)

// quoteVerificationDataSource is data.cc_quote_verification.
type quoteVerificationDataSource struct {
	backend *Backend
}

// NewQuoteVerificationDataSource returns data.cc_quote_verification: what an
// attestation quote proves, once it is verified.
func NewQuoteVerificationDataSource() datasource.DataSource { return &quoteVerificationDataSource{} }

type quoteVerificationModel struct {
	File        types.String     `tfsdk:"file"`
	Base64      types.String     `tfsdk:"content_base64"`
	Collateral  *collateralModel `tfsdk:"collateral"`
	At          types.String     `tfsdk:"at"`
	TrustedRoot types.String     `tfsdk:"allow_trusted_root"`

	TCBStatus          types.String `tfsdk:"tcb_status"`
	PlatformTCBStatus  types.String `tfsdk:"platform_tcb_status"`
	QETCBStatus        types.String `tfsdk:"qe_tcb_status"`
	Advisories         types.List   `tfsdk:"advisories"` //< string
	TCBDate            types.String `tfsdk:"tcb_date"`
	EvaluationNumber   types.Int64  `tfsdk:"tcb_evaluation_data_number"`
	TCBInfoIssued      types.String `tfsdk:"tcb_info_issued"`
	QEIdentityIssued   types.String `tfsdk:"qe_identity_issued"`
	EarliestExpiry     types.String `tfsdk:"earliest_expiry"`
	EarliestExpiryOf   types.String `tfsdk:"earliest_expiry_of"`
	VerifiedFor        types.String `tfsdk:"verified_for"`
	Simulated          types.Bool   `tfsdk:"simulated"`
	RootKeySHA256      types.String `tfsdk:"root_key_sha256"`
	FMSPC              types.String `tfsdk:"fmspc"`
	PCKCA              types.String `tfsdk:"pck_ca"`
	MRENCLAVE          types.String `tfsdk:"mr_enclave"`
	MRSIGNER           types.String `tfsdk:"mr_signer"`
	ISVProdID          types.Int64  `tfsdk:"isv_prod_id"`
	ISVSVN             types.Int64  `tfsdk:"isv_svn"`
	Debug              types.Bool   `tfsdk:"debug"`
	ReportData         types.String `tfsdk:"report_data"`
	PlatformAdvisories types.List   `tfsdk:"platform_advisories"` //< string
	QEAdvisories       types.List   `tfsdk:"qe_advisories"`       //< string
	ID                 types.String `tfsdk:"id"`
}

type collateralModel struct {
	Region  types.String `tfsdk:"region"`
	Network types.String `tfsdk:"network"`
	URL     types.String `tfsdk:"url"`
	CA      types.String `tfsdk:"ca"`
	Update  types.String `tfsdk:"update"`
	Bundle  types.String `tfsdk:"bundle"`
}

var (
	collateralNetworks = words{{"public", "reaches it over the internet"}, {"vpc", "from within Alibaba Cloud"}}
	collateralUpdates  = words{{"standard", "is the edition in force"}, {"early", "the one that will be, after the industry has had its time to patch"}}
)

func (d *quoteVerificationDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_quote_verification"
}

func (d *quoteVerificationDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.backend = backendFrom(req.ProviderData, &resp.Diagnostics)
}

func (d *quoteVerificationDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	within := path.MatchRoot("collateral")
	return []datasource.ConfigValidator{
		datasourcevalidator.ExactlyOneOf(path.MatchRoot("file"), path.MatchRoot("content_base64")),
		datasourcevalidator.ExactlyOneOf(within.AtName("region"), within.AtName("url"), within.AtName("bundle")),
	}
}

func (d *quoteVerificationDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Computed: true}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{MarkdownDescription: description, Computed: true}
	}
	list := func(description string) schema.ListAttribute {
		return schema.ListAttribute{MarkdownDescription: description, Computed: true, ElementType: types.StringType}
	}
	optionalPath := func(description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Validators: []validator.String{filePath{}}}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Verifies an SGX quote (DCAP, version 3) as a key server does: certificate chain, revocation, TCB info, quoting enclave and signatures. " +
			"A quote that is not genuine is an error, and so is a platform that Intel has revoked. A genuine quote can still be of a debug enclave, of somebody else's, " +
			"or of an outdated platform: write what you want as postconditions.",
		Attributes: map[string]schema.Attribute{
			"file":           optionalPath("Path of the quote, as the enclave read it from `/dev/attestation/quote`. Exactly one of `file` and `content_base64`."),
			"content_base64": schema.StringAttribute{MarkdownDescription: "The quote in base64.", Optional: true},
			"collateral":     collateralSource(optionalPath),
			"at": schema.StringAttribute{
				MarkdownDescription: "Time to verify for, such as `2026-11-02T10:00:00Z`. Default: the time of the plan.", Optional: true,
				Validators: []validator.String{rfc3339{}},
			},
			"allow_trusted_root": optionalPath("PEM file of root certificates to trust instead of Intel's: a simulated platform's. A quote under such a root proves nothing about hardware."),

			"tcb_status":                 text("Status of the platform with its quoting enclave, in Intel's words: " + statusWords() + "."),
			"platform_tcb_status":        text("Status of the platform alone."),
			"qe_tcb_status":              text("Status of the quoting enclave alone."),
			"advisories":                 list("Security advisories that the status is for, of platform and quoting enclave."),
			"platform_advisories":        list("Advisories of the platform alone."),
			"qe_advisories":              list("Advisories of the quoting enclave alone."),
			"tcb_date":                   text("Date of the TCB level that the platform has reached."),
			"tcb_evaluation_data_number": number("Number of Intel's TCB recovery event that TCB info and QE identity know of; the smaller of the two."),
			"tcb_info_issued":            text("When the TCB info was issued."),
			"qe_identity_issued":         text("When the QE identity was issued."),
			"earliest_expiry":            text("When the first piece of the evidence expires."),
			"earliest_expiry_of":         text("Which piece that is."),
			"verified_for":               text("Time that the quote was verified for."),
			"simulated":                  schema.BoolAttribute{MarkdownDescription: "Whether the trusted root is another than Intel's.", Computed: true},
			"root_key_sha256":            text("SHA-256 of the root's public key (SubjectPublicKeyInfo)."),
			"fmspc":                      text("Family of the platform, 12 hex digits."),
			"pck_ca":                     text("Who certified the platform: `platform` or `processor`."),
			"mr_enclave":                 text("MRENCLAVE, 64 hex digits."),
			"mr_signer":                  text("MRSIGNER, 64 hex digits."),
			"isv_prod_id":                number("ISVPRODID."),
			"isv_svn":                    number("ISVSVN."),
			"debug":                      schema.BoolAttribute{MarkdownDescription: "Whether the enclave's memory can be read by a debugger.", Computed: true},
			"report_data":                text("The 64 bytes that the enclave put into its report, 128 hex digits."),
			"id":                         text("SHA-256 of the quote."),
		},
	}
}

// collateralSource has the names of cc_key_server's attribute.
func collateralSource(optionalPath func(string) schema.StringAttribute) schema.Attribute {
	with := func(name string) validator.String {
		return stringvalidator.AlsoRequires(path.MatchRelative().AtParent().AtName(name))
	}
	return schema.SingleNestedAttribute{
		MarkdownDescription: "Where TCB info, QE identity and revocation lists come from: exactly one of `region`, `url` and `bundle`.",
		Required:            true,
		Attributes: map[string]schema.Attribute{
			"region": schema.StringAttribute{MarkdownDescription: "Alibaba Cloud's service of this region, such as `cn-beijing`.", Optional: true},
			"network": schema.StringAttribute{
				MarkdownDescription: "With `region`: " + collateralNetworks.markdown(), Optional: true,
				Validators: []validator.String{collateralNetworks, with("region")},
			},
			"url":    schema.StringAttribute{MarkdownDescription: "Any other service with the API of Intel's PCS or PCCS, version 4.", Optional: true},
			"ca":     optionalPath("PEM file of the certification authorities for the service's TLS certificate, instead of the system's."),
			"update": schema.StringAttribute{MarkdownDescription: "Edition of TCB info: " + collateralUpdates.markdown(), Optional: true, Validators: []validator.String{collateralUpdates}},
			"bundle": optionalPath("A file with collateral (`ccctl collateral fetch`), for a machine that reaches no service."),
		},
	}
}

func statusWords() string {
	var all string
	for i, s := range dcap.Statuses() {
		if s == dcap.StatusRevoked {
			continue // an error
		}
		if i > 0 {
			all += ", "
		}
		all += "`" + string(s) + "`"
	}
	return all
}

func (d *quoteVerificationDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m quoteVerificationModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	at, q, err := m.quote()
	if err != nil {
		addError(&resp.Diagnostics, at, "Quote not readable", err)
		return
	}
	roots, err := deploy.ReadTrustedRoots(m.TrustedRoot.ValueString())
	if err != nil {
		addError(&resp.Diagnostics, path.Root("allow_trusted_root"), "Trusted root not usable", err)
		return
	}
	source, release, err := m.Collateral.place().Open()
	if err != nil {
		addError(&resp.Diagnostics, path.Root("collateral"), "Collateral source not usable", err)
		return
	}
	defer release()
	verdict, err := deploy.VerifyQuote(ctx, q, source, dcap.VerifyOptions{At: m.time(d.backend.Now), Roots: roots})
	if err != nil {
		summary, place := verificationProblem(err, at)
		addError(&resp.Diagnostics, place, summary, err)
		return
	}
	if err := deploy.RefuseRevoked(verdict); err != nil {
		addError(&resp.Diagnostics, at, "Platform revoked", err)
		return
	}
	if err := m.setVerdict(q, verdict); err != nil {
		addError(&resp.Diagnostics, at, "Quote not readable", err)
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// quote reads the quote and names the attribute it came from.
func (m *quoteVerificationModel) quote() (path.Path, *quote.Quote, error) {
	if !m.File.IsNull() {
		q, err := deploy.ReadQuote(m.File.ValueString())
		return path.Root("file"), q, err
	}
	at := path.Root("content_base64")
	raw, err := base64.StdEncoding.DecodeString(m.Base64.ValueString())
	if err != nil {
		return at, nil, errors.New(`decode quote: not base64; use filebase64("FILE")`)
	}
	q, err := quote.Parse(raw)
	return at, q, err
}

func (m *quoteVerificationModel) time(now func() time.Time) time.Time {
	if at, err := time.Parse(time.RFC3339, m.At.ValueString()); err == nil {
		return at
	}
	return now()
}

func (m *collateralModel) place() deploy.CollateralPlace {
	return deploy.CollateralPlace{
		Region: m.Region.ValueString(), Network: m.Network.ValueString(), URL: m.URL.ValueString(), CA: m.CA.ValueString(),
		Update: m.Update.ValueString(), Bundle: m.Bundle.ValueString(),
	}
}

// verificationProblem tells a quote that is not genuine from collateral that
// could not be had.
func verificationProblem(err error, at path.Path) (string, path.Path) {
	var refusal *dcap.Error
	if errors.As(err, &refusal) && refusal.Stage != dcap.StageCollateralMissing {
		return "Quote not genuine", at
	}
	return "Collateral not available", path.Root("collateral")
}

func (m *quoteVerificationModel) setVerdict(q *quote.Quote, v *dcap.Verdict) error {
	raw, err := q.Marshal()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	date := func(t time.Time) types.String { return types.StringValue(t.UTC().Format(time.RFC3339)) }
	digits := func(b []byte) types.String { return types.StringValue(hex.EncodeToString(b)) }
	r := &v.Report
	m.ID = digits(sum[:])
	m.TCBStatus, m.PlatformTCBStatus = types.StringValue(string(v.Status)), types.StringValue(string(v.PlatformStatus))
	m.QETCBStatus = types.StringValue(string(v.QEStatus))
	m.Advisories, m.PlatformAdvisories, m.QEAdvisories = stringList(v.Advisories), stringList(v.PlatformAdvisories), stringList(v.QEAdvisories)
	m.TCBDate, m.EvaluationNumber = date(v.TCBDate), types.Int64Value(int64(v.EvaluationNumber))
	m.TCBInfoIssued, m.QEIdentityIssued = date(v.TCBInfoIssued), date(v.QEIdentityIssued)
	m.EarliestExpiry, m.EarliestExpiryOf = date(v.EarliestExpiry), types.StringValue(v.EarliestExpiryOf)
	m.VerifiedFor = date(v.At)
	m.Simulated, m.RootKeySHA256 = types.BoolValue(v.Simulated), digits(v.RootFingerprint[:])
	m.FMSPC, m.PCKCA = types.StringValue(v.PCK.FMSPC.String()), types.StringValue(v.PCK.CA)
	m.MRENCLAVE, m.MRSIGNER = digits(r.MRENCLAVE[:]), digits(r.MRSIGNER[:])
	m.ISVProdID, m.ISVSVN = types.Int64Value(int64(r.ISVProdID)), types.Int64Value(int64(r.ISVSVN))
	m.Debug, m.ReportData = types.BoolValue(r.Attributes.Debug()), digits(r.ReportData[:])
	return nil
}

// rfc3339 accepts a time.
type rfc3339 struct{}

func (rfc3339) Description(context.Context) string {
	return `value must be a time such as "2026-11-02T10:00:00Z"`
}

func (v rfc3339) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v rfc3339) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if t, err := time.Parse(time.RFC3339, req.ConfigValue.ValueString()); err != nil || t.IsZero() {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid Attribute Value", fmt.Sprintf("Attribute %s %s, got: %s", req.Path, v.Description(ctx), req.ConfigValue.ValueString()))
	}
}
