package resources

import (
	"context"
	"math"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var keyServerRuntimes = words{
	{"process", "runs `ccctl keyserver serve` as a process of its own, which outlives Terraform"},
	{runtimeDocker, "runs it in a container, whose image is made of `ccctl` and nothing else and sent to the machine: no registry is needed. " +
		"It is not root, can write nowhere but to its cache, has no capabilities, and is started again by Docker"},
}

var keyServerRestarts = words{
	{"unless-stopped", "starts it again when it ends and when the machine starts, unless it was stopped by hand"},
	{"on-failure", "starts it again when it fails"},
	{"no", "leaves it to the next apply"},
}

// keyServerSchema names what goes into the configuration file as the file
// does, so that a problem found there has its place here.
func keyServerSchema(ctx context.Context) schema.Schema {
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	keep := []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	return schema.Schema{
		MarkdownDescription: "A key server: it lets an enclave attest itself and releases the wrap key to the one that a rule names. " +
			"It speaks Gramine's secret provisioning protocol. The resource keeps it running with exactly this configuration: a plan says " +
			"when it has stopped, when its configuration was edited, and when a certificate or key that it loads has changed.",
		Attributes: map[string]schema.Attribute{
			// Where it runs.
			"host": hostAttribute("The machine it runs on."),
			"runtime": schema.StringAttribute{
				MarkdownDescription: "What it runs as. " + keyServerRuntimes.meanings(),
				Required:            true,
				Validators:          []validator.String{keyServerRuntimes},
				PlanModifiers:       replace,
			},
			"container_name": schema.StringAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: name of the container. Default: `" + defaultContainerName + "`.",
				Optional:            true,
				PlanModifiers:       replace,
			},
			"probe": schema.BoolAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: after an apply the server must answer at the machine's address from here too, so that a security " +
					"group or firewall that is closed is noticed. Default: `true`, unless `listen` is a loopback address of another machine or there is a jump host.",
				Optional: true,
			},
			"directory": schema.StringAttribute{
				MarkdownDescription: "Directory of its configuration, state file and log, on its machine. It is made with mode 0700; nobody else may write to it, " +
					"because whoever can write the configuration can release keys. With `runtime = \"docker\"` copies of the certificate and the keys are in it.",
				Required:      true,
				Validators:    []validator.String{directoryPath{}},
				PlanModifiers: []planmodifier.String{samePath{}, stringplanmodifier.RequiresReplace()},
			},
			"ccctl_path": schema.StringAttribute{
				MarkdownDescription: "Path of the program `ccctl`, which for a container must be that for linux/amd64. Default: the one beside the provider, " +
					"or else the one on `PATH`. Changing it restarts the server.",
				Optional:   true,
				Validators: []validator.String{filePath{}},
			},

			"ccctl_url": schema.StringAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: https URL of `ccctl` for linux/amd64, instead of `ccctl_path`. It is fetched once and compared with `ccctl_sha256`.",
				Optional:            true,
			},
			"ccctl_sha256": schema.StringAttribute{
				MarkdownDescription: "SHA-256 of what is at `ccctl_url`, in 64 lower-case hex digits.", Optional: true,
			},
			"image": schema.StringAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: an image in a registry by its digest, `registry/name@sha256:...`, which the machine pulls itself. " +
					"Default: an image that is made of `ccctl` and sent to the machine.",
				Optional: true,
			},
			"restart_policy": schema.StringAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: what Docker does when the server ends. " + keyServerRestarts.markdown(),
				Optional:            true,
				Validators:          []validator.String{keyServerRestarts},
			},
			"secrets_on_disk": schema.BoolAttribute{
				MarkdownDescription: "With `runtime = \"docker\"`: `false` keeps certificate and keys off the machine's disk. They are handed over in the standard input of a " +
					"command when the container starts, and are in its memory alone, which is not swapped out. It does not survive a restart, so it needs " +
					"`restart_policy = \"no\"`: after one the next apply hands them over again. Rules are still reloaded; another key or certificate takes " +
					"a new container. Default: `true`.",
				Optional: true,
			},

			// What it does.
			"listen": schema.StringAttribute{
				MarkdownDescription: "TCP address for enclaves, `host:port`. An empty host is every address of the machine, port 0 any free port. Changing it restarts the server.",
				Required:            true,
			},
			"tls": schema.SingleNestedAttribute{
				MarkdownDescription: "Its own certificate, which enclaves check against their CA file.",
				Required:            true,
				Attributes: map[string]schema.Attribute{
					"certificate": pathAttribute(true, "PEM file of the certificate chain."),
					"private_key": pathAttribute(true, "PEM file of the private key."),
				},
			},
			"collateral":         collateralAttribute(),
			"secrets":            secretsAttribute(),
			"vault":              vaultAttribute(),
			"alibaba_cloud":      alibabaCloudAttribute(),
			"rules":              rulesAttribute(),
			"allow_trusted_root": pathAttribute(false, "PEM file of root certificates to trust instead of Intel's: a simulated platform's. A quote under such a root proves nothing about hardware."),
			"admin":              adminAttribute(),
			"limits":             limitsAttribute(),
			"reload_triggers": schema.MapAttribute{
				MarkdownDescription: "Values whose change makes the apply reload the server and wait for it, such as a certificate that the same apply renews. " +
					"Without them the server notices a new file by itself within seconds, and the next plan shows it.",
				Optional:    true,
				ElementType: types.StringType,
			},
			"timeouts": timeoutsAttribute(ctx, timeouts.Opts{Create: true, Update: true, Delete: true,
				CreateDescription: "How long it may take to start. Default: `1m`, for a container `10m`.",
				UpdateDescription: "How long it may take to reload or restart. Default: `2m`, for a container `10m`.",
				DeleteDescription: "How long it may take to stop. At the end of it the server is killed. Default: `2m`, for a container `10m`.",
			}),

			// Computed.
			"id": schema.StringAttribute{
				MarkdownDescription: "The same as `directory`; for a container on another machine `ssh://host:port` is before it.", Computed: true, PlanModifiers: keep,
			},
			"status": schema.StringAttribute{
				MarkdownDescription: "`running`, and nothing else after an apply. A refresh may find `stopped`, or `changed: ` and what has changed.",
				Computed:            true,
			},
			"address": schema.StringAttribute{
				MarkdownDescription: "Address to reach it at, `host:port`: from its own machine, or with `probe` from here.", Computed: true,
			},
			"admin_address": schema.StringAttribute{
				MarkdownDescription: "Address of the listener for health checks, `host:port`; null without one.", Computed: true,
			},
			"config_file": schema.StringAttribute{
				MarkdownDescription: "Path of the configuration file.", Computed: true, PlanModifiers: keep,
			},
			"config_sha256": schema.StringAttribute{
				MarkdownDescription: "SHA-256 of the configuration in force. The file lists the digests of the certificates and the fingerprints of the keys that it goes with.",
				Computed:            true,
			},
			"log_file": schema.StringAttribute{
				MarkdownDescription: "Path of the log: a line for every enclave, with the reason if it was refused. Null for a container, where `docker logs` shows it.", Computed: true, PlanModifiers: keep,
			},
		},
	}
}

// timeoutsAttribute gives the stock attribute the description it lacks.
func timeoutsAttribute(ctx context.Context, opts timeouts.Opts) schema.Attribute {
	attribute := timeouts.Attributes(ctx, opts)
	if nested, ok := attribute.(schema.SingleNestedAttribute); ok {
		nested.MarkdownDescription = "How long operations may take, such as `30s` or `10m`. An operation that takes longer is interrupted and fails."
		return nested
	}
	return attribute
}

func pathAttribute(required bool, description string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description, Required: required, Optional: !required,
		Validators: []validator.String{filePath{}}, PlanModifiers: []planmodifier.String{samePath{}},
	}
}

func durationAttribute(description string) schema.StringAttribute {
	return schema.StringAttribute{
		MarkdownDescription: description, Optional: true,
		Validators: []validator.String{duration{}}, PlanModifiers: []planmodifier.String{sameDuration{}},
	}
}

func intAttribute(largest int64, description string) schema.Int64Attribute {
	return schema.Int64Attribute{
		MarkdownDescription: description, Optional: true, Validators: []validator.Int64{int64validator.Between(0, largest)},
	}
}

func stringsAttribute(description string) schema.ListAttribute {
	return schema.ListAttribute{MarkdownDescription: description, Optional: true, ElementType: types.StringType}
}

func collateralAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "Where the signed facts about SGX platforms come from: TCB info, QE identity and revocation lists. Exactly one of `region`, `url` and `bundle`.",
		Required:            true,
		Attributes: map[string]schema.Attribute{
			"region":          schema.StringAttribute{MarkdownDescription: "Alibaba Cloud's service of this region, such as `cn-beijing`.", Optional: true},
			"network":         schema.StringAttribute{MarkdownDescription: "With `region`: `\"public\"` (default) or `\"vpc\"`.", Optional: true},
			"url":             schema.StringAttribute{MarkdownDescription: "Any other service with the API of Intel's PCS or PCCS, version 4.", Optional: true},
			"ca":              pathAttribute(false, "With `url`: PEM file of the certification authorities for its TLS certificate, instead of the system's."),
			"root_ca_crl_url": schema.StringAttribute{MarkdownDescription: "With `url`: where the root CA's revocation list is, if not at Intel's place.", Optional: true},
			"update":          schema.StringAttribute{MarkdownDescription: "`\"standard\"` (default) or `\"early\"`: which edition of TCB info.", Optional: true},
			"bundle":          pathAttribute(false, "A file with collateral (`ccctl collateral fetch`), for a machine that reaches no service."),
			"cache_dir":       pathAttribute(false, "Directory that keeps collateral over a restart. Default: memory only."),
			"max_age":         durationAttribute("How old TCB info and QE identity may be, counted from their issue date. Default: `168h`."),
		},
	}
}

func limitsAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		MarkdownDescription: "What clients may take of the server.",
		Optional:            true,
		Attributes: map[string]schema.Attribute{
			"unfinished_handshakes":  intAttribute(math.MaxInt32, "Connections that have not received their key yet. Default: 4096."),
			"unfinished_per_address": intAttribute(math.MaxInt32, "How many of them may come from one address. Default: 1024."),
			"handshake_timeout":      durationAttribute("How long a client may take in the TLS handshake. Default: `10s`."),
			"request_timeout":        durationAttribute("How long a client may take for its request, and to take the answer. Default: `10s`."),
			"collateral_timeout":     durationAttribute("How long a connection waits for collateral. Default: `30s`."),
			"drain_timeout":          durationAttribute("How long a server that is stopped lets connections finish. Default: `15s`."),
		},
	}
}
