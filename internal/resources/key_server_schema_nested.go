package resources

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-validators/helpers/validatordiag"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func secretsAttribute() schema.Attribute {
	return schema.ListNestedAttribute{
		MarkdownDescription: "The keys that rules may release. Each has exactly one of `file`, `command`, `vault_kv`, `vault_transit` and `alibaba_kms`, which the server reads on its own machine " +
			"when it starts and reloads; it does not start without them.",
		Required: true,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{MarkdownDescription: "Name that rules use.", Required: true},
			"file": pathAttribute(false, "Wrap-key file, as `cc_wrap_key` makes it."),
			"command": schema.ListAttribute{
				MarkdownDescription: "With `runtime = \"process\"`: program, by its absolute path, and arguments, that prints the key. There is no shell, and no key belongs in the arguments.",
				Optional:            true, ElementType: types.StringType,
			},
			"command_timeout": durationAttribute("With `command`: how long it may take. Default: `30s`."),
			"vault_kv": schema.SingleNestedAttribute{
				MarkdownDescription: "With `runtime = \"process\"`: a secret in a KV engine (version 2) of `vault`, as base64 or hex digits.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"mount": named("Where the engine is mounted."), "path": named("Path of the secret below the mount."),
					"field": schema.StringAttribute{MarkdownDescription: "Field of the secret. Default: `wrap_key`.", Optional: true},
				},
			},
			"vault_transit": schema.SingleNestedAttribute{
				MarkdownDescription: "With `runtime = \"process\"`: a file with what the Transit engine of `vault` made of the key (`ccctl wrap-key seal`).", Optional: true,
				Attributes: map[string]schema.Attribute{
					"mount": named("Where the engine is mounted."), "key": named("Name of the engine's key."),
					"ciphertext_file": pathAttribute(true, "Path of the file."),
				},
			},
			"alibaba_kms": schema.SingleNestedAttribute{
				MarkdownDescription: "A file with what a key of Alibaba Cloud KMS made of the key (`ccctl wrap-key seal`), which the server decrypts as `alibaba_cloud` says. " + permissions("kms:Decrypt"), Optional: true,
				Attributes: map[string]schema.Attribute{
					"ciphertext_file": pathAttribute(true, "Path of the file."),
					"encryption_context": schema.MapAttribute{
						MarkdownDescription: "The encryption context that the key was encrypted with, if any.", Optional: true, ElementType: types.StringType,
					},
				},
			},
			"refresh": durationAttribute("How often Vault or KMS is asked again, or the command run. Another key is in force from then on; while there is no answer the last one stays. " +
				"Default: `5m`, for a command never."),
			"form": schema.StringAttribute{
				MarkdownDescription: "How `file` or `command` has the key: `\"raw\"` (default), `\"hex\"` or `\"base64\"`.", Optional: true,
				Validators: []validator.String{stringvalidator.OneOf("raw", "hex", "base64")},
			},
			"encoding": schema.StringAttribute{
				MarkdownDescription: "How it is sent: `\"raw\"` (default) for Gramine 1.3 and later, `\"hex\"` for 1.0 to 1.2.", Optional: true,
			},
			"allow_readable_by_others": schema.BoolAttribute{
				MarkdownDescription: "Accept a file that every user of the machine can read. Default: `false`.", Optional: true,
			},
		}},
	}
}

// named is a required name.
func named(description string) schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: description, Required: true, Validators: []validator.String{stringvalidator.LengthAtLeast(1)}}
}

func optional(description string) schema.StringAttribute {
	return schema.StringAttribute{MarkdownDescription: description, Optional: true}
}

func vaultAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "The HashiCorp Vault or OpenBao of `vault_kv` and `vault_transit`. The server is not given Terraform's environment, so `address` and `token_file` are required with them.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"address":    optional("URL of the server; plain http for a loopback address only."),
			"namespace":  optional("Namespace of the mounts."),
			"ca":         pathAttribute(false, "PEM file of the certification authorities for its certificate, instead of the system's."),
			"token_file": pathAttribute(false, "File with the token, read anew each time, such as the sink of a Vault agent."),
		},
	}
}

func alibabaCloudAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "The account of `alibaba_kms`. The server is not given Terraform's credentials: it needs `region`, and `profile` or `ecs_role_name`, in a container `ecs_role_name`.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"region":                  optional("Region of the keys."),
			"network":                 optional("`\"public\"` (default) or `\"vpc\"`."),
			"endpoint":                optional("Another address of the service, `HOST` or `HOST:PORT`, such as a KMS instance's own. It is spoken to over TLS; `http://HOST:PORT` is accepted for a loopback address, for tests."),
			"profile":                 optional("Profile in `shared_credentials_file`."),
			"shared_credentials_file": pathAttribute(false, "File with the profile, on the server's machine. Default: that of the `aliyun` command."),
			"ecs_role_name":           optional("RAM role of the ECS instance that the server runs on. From within a container the metadata service is one hop further away: `http_put_response_hop_limit` of 2 or more."),
		},
	}
}

func adminAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "Listener for health checks (`/healthz`, `/readyz`), metrics and status. Default: none. A container has its own, which Docker asks.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"listen":       schema.StringAttribute{MarkdownDescription: "Loopback address, `host:port`; with `tls` any address. Changing it restarts the server.", Required: true},
			"server_names": stringsAttribute("Host names by which clients may call it, beside `localhost` and its addresses."),
			"tls": schema.SingleNestedAttribute{
				MarkdownDescription: "Mutual TLS: only clients with a certificate are answered. Giving or taking it away restarts the server.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"certificate": pathAttribute(true, "PEM file of its certificate chain."),
					"private_key": pathAttribute(true, "PEM file of its private key."),
					"client_ca":   pathAttribute(true, "PEM file of the CA whose clients may look."),
				},
			},
		},
	}
}

func rulesAttribute() schema.Attribute {
	sized := func(size int, description string) schema.StringAttribute {
		return schema.StringAttribute{MarkdownDescription: description, Optional: true, Validators: []validator.String{bitMask(size)}}
	}
	bits := func(description string) schema.StringAttribute { return sized(64, description) }
	return schema.ListNestedAttribute{
		MarkdownDescription: "Who gets which key. The first rule whose every condition holds releases its secret; if there is none, nothing is released.",
		Required:            true,
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"name":        schema.StringAttribute{MarkdownDescription: "Name that the log uses.", Required: true},
			"mr_enclave":  stringsAttribute("MRENCLAVE of the enclaves, 64 hex digits each. At least one of `mr_enclave` and `mr_signer` is required."),
			"mr_signer":   stringsAttribute("MRSIGNER of the enclaves, 64 hex digits each."),
			"isv_prod_id": intAttribute(math.MaxUint16, "ISVPRODID. Required unless `mr_enclave` is given, because a signer signs more than one product."),
			"min_isv_svn": intAttribute(math.MaxUint16, "Smallest ISVSVN. Required unless `mr_enclave` is given, because a signer has signed old versions."),
			"server_name": stringsAttribute("Names of which the enclave must have asked for one (TLS server name). Default: any, or none."),
			"tcb": schema.SingleNestedAttribute{
				MarkdownDescription: "Which state of the platform is good enough.",
				Required:            true,
				Attributes: map[string]schema.Attribute{
					"accept": schema.ListAttribute{
						MarkdownDescription: "TCB statuses in Intel's words, such as `UpToDate` and `SWHardeningNeeded`.",
						Required:            true, ElementType: types.StringType,
					},
					"accept_advisories": stringsAttribute("Security advisories that may be open on the platform, such as `INTEL-SA-00615`."),
					"status_advisories": schema.MapAttribute{
						MarkdownDescription: "By status, security advisories that may be open under that status alone.", Optional: true, ElementType: types.ListType{ElemType: types.StringType},
					},
					"min_evaluation_number": intAttribute(math.MaxUint32, "Smallest `tcbEvaluationDataNumber`: which TCB recoveries the verdict must know of."),
					"fmspc":                 stringsAttribute("The only families of platforms, 12 hex digits each, as `ccctl quote inspect` shows them. Default: any."),
					"deny_fmspc":            stringsAttribute("Families of platforms that are refused in any case."),
				},
			},
			"config_id":       optional("With key separation and sharing (KSS): CONFIGID, 128 hex digits."),
			"min_config_svn":  intAttribute(math.MaxUint16, "With KSS: smallest CONFIGSVN."),
			"isv_ext_prod_id": optional("With KSS: ISVEXTPRODID, 32 hex digits."),
			"isv_family_id":   optional("With KSS: ISVFAMILYID, 32 hex digits."),
			"attributes": schema.SingleNestedAttribute{
				MarkdownDescription: "Bits of the enclave's ATTRIBUTES, compared under their masks.", Optional: true,
				Attributes: map[string]schema.Attribute{
					"flags": bits("Wanted flags, such as `\"0x4\"`."), "flags_mask": bits("Which flags count."),
					"xfrm": bits("Wanted XFRM bits."), "xfrm_mask": bits("Which XFRM bits count."),
				},
			},
			"misc_select": schema.SingleNestedAttribute{
				MarkdownDescription: "Bits of the enclave's MISCSELECT, compared under their mask.", Optional: true,
				Attributes: map[string]schema.Attribute{"value": sized(32, "Wanted bits, such as `\"0x1\"`."), "mask": sized(32, "Which bits count.")},
			},
			"allow_debug": schema.BoolAttribute{
				MarkdownDescription: "Accept debug enclaves, whose memory their host can read. Default: `false`.", Optional: true,
			},
			"secret": schema.StringAttribute{MarkdownDescription: "Name of the secret to release.", Required: true},
		}},
	}
}

// bitMask accepts so many bits as a hexadecimal number with 0x, which no number
// of Terraform writes.
type bitMask int

func (v bitMask) Description(context.Context) string {
	return fmt.Sprintf("value must be %d bits or less as a hexadecimal number in lower case without leading zeros, such as 0x4", int(v))
}

func (v bitMask) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v bitMask) ValidateString(ctx context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text, n := req.ConfigValue.ValueString(), parseBits(req.ConfigValue)
	if optionalBits(n).ValueString() != text && text != "0x0" || n>>(int(v)-1)>>1 != 0 {
		resp.Diagnostics.Append(validatordiag.InvalidAttributeValueDiagnostic(req.Path, v.Description(ctx), text))
	}
}

// parseBits reads bits that the validator has let pass; null is 0.
func parseBits(s types.String) uint64 {
	n, err := strconv.ParseUint(s.ValueString(), 0, 64)
	if err != nil {
		return 0
	}
	return n
}

// optionalBits writes bits; none are null.
func optionalBits(n uint64) types.String {
	if n == 0 {
		return types.StringNull()
	}
	return types.StringValue("0x" + strconv.FormatUint(n, 16))
}
